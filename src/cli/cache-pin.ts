/**
 * `tag cache pin` and `tag cache unpin`: keep a bucket or a prefix from eviction, and end
 * that, running server or not. A pin outlives restarts.
 */

import { formatByteSizeRounded } from "../base/byte-size.ts";
import type { PinReport } from "../storage/open.ts";
import { change } from "./cache-access.ts";
import { formatTarget, parseTarget } from "./cache-target.ts";
import { command } from "./command.ts";
import { CONFIG_FLAG, loadForCommand, reportProblems } from "./config-flags.ts";
import { CliError } from "./exit-codes.ts";

const ARGS = {
  target: {
    type: "positional",
    valueHint: "BUCKET[/PREFIX]",
    description: "Every key that begins so",
    required: true,
  },
  ...CONFIG_FLAG,
  json: { type: "boolean", description: "JSON for machines" },
} as const;

export const cachePin = command({
  name: "tag cache pin",
  description: "Keep what is cached of a bucket or prefix, now and later, from being evicted",
  args: ARGS,
  examples: [
    ["tag cache pin models/llama/", "what is cached below stays, and what will be"],
    ["tag cache warm s3://models/llama/ && tag cache pin models/llama/", "have it, and keep it"],
  ],
  async run(input) {
    const { args, terminal } = input;
    const target = parseTarget(args.target);
    const loaded = await loadForCommand(input);
    if (loaded.kind === "failed") return reportProblems(terminal, loaded.problems);
    const report = await change<PinReport>(loaded.config, {
      action: "pin",
      input: target,
      offline: (storage) => storage.pin(target.bucket, target.prefix),
    });
    if (report === undefined) throw noCache();
    if (args.json === true) {
      terminal.out(JSON.stringify({ ...target, ...report }));
      return "ok";
    }
    terminal.out(
      `pinned ${formatTarget(target)}: ${count(report.entries)} cached, ` +
        `${formatByteSizeRounded(report.bytes)} on disk`,
    );
    if (report.refusedEntries > 0) {
      terminal.info(
        `${count(report.refusedEntries)} not protected: pinned objects may take ` +
          `${loaded.config.cache.pinnedMaxPercent} % of the cache (cache.pinned_max_percent)`,
      );
    }
    return "ok";
  },
});

export const cacheUnpin = command({
  name: "tag cache unpin",
  description: "End a pin: what it covered is evicted like anything else again",
  args: ARGS,
  examples: [["tag cache unpin models/llama/", "exit 8 when exactly this is not pinned"]],
  async run(input) {
    const { args, terminal } = input;
    const target = parseTarget(args.target);
    const loaded = await loadForCommand(input);
    if (loaded.kind === "failed") return reportProblems(terminal, loaded.problems);
    const report = await change<PinReport | NotPinned>(loaded.config, {
      action: "unpin",
      input: target,
      offline: async (storage) =>
        (await storage.unpin(target.bucket, target.prefix)) ?? { isPinned: false },
    });
    if (report === undefined) throw noCache();
    if ("isPinned" in report) {
      throw new CliError(
        "notFound",
        `${formatTarget(target)} is not pinned by tag cache pin; tag cache stats shows what is`,
      );
    }
    if (args.json === true) terminal.out(JSON.stringify({ ...target, ...report }));
    else if (report.entries === 0) terminal.out(`unpinned ${formatTarget(target)}`);
    else {
      const still = report.entries === 1 ? "1 object stays" : `${report.entries} objects stay`;
      terminal.out(`unpinned ${formatTarget(target)}; ${still} pinned by another pin`);
    }
    return "ok";
  },
});

/** What the administrative route answers when there is nothing to end. */
interface NotPinned {
  readonly isPinned: false;
}

const noCache = (): CliError =>
  new CliError("notFound", "there is no cache yet: start the server once");

const count = (entries: number): string =>
  entries === 1 ? "1 object" : `${entries.toLocaleString("en-US")} objects`;
