/**
 * `tag cache compact`: gives the space of dropped and replaced objects back now. Eviction
 * does so by itself when the space is needed; this is for a volume that others need.
 */

import { formatByteSizeRounded } from "../base/byte-size.ts";
import type { CompactReport } from "../storage/open.ts";
import { change } from "./cache-access.ts";
import { command } from "./command.ts";
import { CONFIG_FLAG, loadForCommand, reportProblems } from "./config-flags.ts";

const NOTHING: CompactReport = { segments: 0, movedRecords: 0, movedBytes: 0, freedBytes: 0 };

export const cacheCompact = command({
  name: "tag cache compact",
  description: "Give the space of dropped objects back to the volume now; no cached object is lost",
  args: {
    ...CONFIG_FLAG,
    json: { type: "boolean", description: "JSON for machines" },
  },
  examples: [
    ["tag cache compact", "moves what is live out of segments that are half empty or more"],
    ["tag cache purge old --yes && tag cache compact", "make room for something else"],
  ],
  async run(input) {
    const { args, terminal } = input;
    const loaded = await loadForCommand(input);
    if (loaded.kind === "failed") return reportProblems(terminal, loaded.problems);
    const done = await change<CompactReport>(loaded.config, {
      action: "compact",
      input: {},
      offline: (storage) => storage.compact(new AbortController().signal),
    });
    const report = done ?? NOTHING;
    if (args.json === true) {
      terminal.out(JSON.stringify(report));
    } else {
      const { segments, movedRecords, movedBytes, freedBytes } = report;
      const objects =
        movedRecords === 1 ? "1 object" : `${movedRecords.toLocaleString("en-US")} objects`;
      terminal.out(
        `freed ${formatByteSizeRounded(freedBytes)}: gave up ${segments} segments, ` +
          `moved ${objects} (${formatByteSizeRounded(movedBytes)})`,
      );
    }
    return "ok";
  },
});
