/** `tag cache purge`: drops what is stored of a bucket or a prefix, at once, running server or not. */

import { formatByteSizeRounded } from "../base/byte-size.ts";
import type { Config } from "../config/options.ts";
import { change, readStore } from "./cache-access.ts";
import { isConfirmed, YES_FLAG } from "./cache-confirm.ts";
import { formatTarget, parseTarget, type Target } from "./cache-target.ts";
import { command } from "./command.ts";
import { CONFIG_FLAG, loadForCommand, reportProblems } from "./config-flags.ts";

export const cachePurge = command({
  name: "tag cache purge",
  description: "Drop what is cached of a bucket or prefix, at once, also on the running server",
  args: {
    target: {
      type: "positional",
      valueHint: "BUCKET[/PREFIX]",
      description: "What to drop: every key that begins so",
      required: true,
    },
    ...CONFIG_FLAG,
    yes: YES_FLAG,
    json: { type: "boolean", description: "JSON for machines" },
  },
  examples: [
    ["tag cache purge models/llama/", "asks first"],
    ["tag cache purge models --yes", "a whole bucket, from a script"],
  ],
  async run(input) {
    const { args, terminal } = input;
    const target = parseTarget(args.target);
    const loaded = await loadForCommand(input);
    if (loaded.kind === "failed") return reportProblems(terminal, loaded.problems);
    const { config } = loaded;

    if (args.yes !== true) {
      const question = `Drop ${await describe(config, target)} from the cache?`;
      if (!(await isConfirmed(question))) {
        terminal.info("nothing was dropped");
        return "ok";
      }
    }
    const done = await change<{ readonly entries: number }>(config, {
      action: "purge",
      input: target,
      offline: (storage) => ({ entries: storage.removePrefix(target.bucket, target.prefix) }),
    });
    const entries = done?.entries ?? 0;
    if (args.json === true) terminal.out(JSON.stringify({ ...target, entries }));
    else terminal.out(`dropped ${count(entries)} of ${formatTarget(target)}`);
    return "ok";
  },
});

/** `1,204 objects (3.1 GiB) of models/llama/`. */
async function describe(config: Config, target: Target): Promise<string> {
  const found = await readStore(config, (reader) => {
    let entries = 0;
    let sizeBytes = 0;
    for (const entry of reader.entries(target.bucket, target.prefix)) {
      entries += 1;
      sizeBytes += entry.sizeBytes;
    }
    return `${count(entries)} (${formatByteSizeRounded(sizeBytes)})`;
  });
  return `${found ?? "0 objects"} of ${formatTarget(target)}`;
}

const count = (entries: number): string =>
  entries === 1 ? "1 object" : `${entries.toLocaleString("en-US")} objects`;
