/**
 * What the configuration says of the store on disk, for everybody who opens one: the server,
 * and the tools on the store of a stopped server, which must not open it otherwise.
 */

import { pinsOf, Rules } from "../cache/cache.ts";
import type { StorageOptions } from "../storage/open.ts";
import type { Config } from "./options.ts";

export function storageSettings({
  cache,
}: Config): Pick<
  StorageOptions,
  | "path"
  | "capacityBytes"
  | "policy"
  | "pins"
  | "pinnedShareMax"
  | "quotaBytes"
  | "blockThresholdBytes"
> {
  const rules = new Rules(cache.rules);
  return {
    path: cache.diskPath,
    capacityBytes: cache.maxDiskUsageBytes === 0 ? undefined : cache.maxDiskUsageBytes,
    policy: cache.evictionPolicy,
    pins: pinsOf(cache.rules),
    pinnedShareMax: cache.pinnedMaxPercent / 100,
    quotaBytes: (bucket) => rules.quotaBytes(bucket),
    blockThresholdBytes: cache.blockThresholdBytes,
  };
}
