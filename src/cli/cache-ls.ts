/** `tag cache ls`: which buckets are cached, or which objects of one. */

import { formatByteSizeRounded } from "../base/byte-size.ts";
import { readStore } from "./cache-access.ts";
import { parseTarget, printable } from "./cache-target.ts";
import { command } from "./command.ts";
import { CONFIG_FLAG, loadForCommand, reportProblems } from "./config-flags.ts";

/** Lines written in one go: a million objects must not be a million writes. */
const LINES_PER_WRITE = 1000;

export const cacheLs = command({
  name: "tag cache ls",
  description:
    "List what is cached: the buckets, or the objects of one; also while the server runs",
  args: {
    target: {
      type: "positional",
      valueHint: "BUCKET[/PREFIX]",
      description: "List objects whose key begins so; without it, the buckets",
      required: false,
    },
    ...CONFIG_FLAG,
    json: { type: "boolean", description: "JSON for machines, one object per line" },
  },
  examples: [
    ["tag cache ls", "the buckets"],
    ["tag cache ls models/llama/", "size, tier and key of every object below"],
    ["tag cache ls models --json | jq -r .key", "for scripts"],
  ],
  async run(input) {
    const { args, terminal } = input;
    const target = args.target === undefined ? undefined : parseTarget(args.target);
    const loaded = await loadForCommand(input);
    if (loaded.kind === "failed") return reportProblems(terminal, loaded.problems);

    await readStore(loaded.config, (reader) => {
      const lines =
        target === undefined
          ? bucketLines(reader.summary().buckets, args.json === true)
          : objectLines(
              target.bucket,
              reader.entries(target.bucket, target.prefix),
              args.json === true,
            );
      let batch: string[] = [];
      for (const line of lines) {
        if (batch.push(line) < LINES_PER_WRITE) continue;
        terminal.out(batch.join("\n"));
        batch = [];
      }
      if (batch.length > 0) terminal.out(batch.join("\n"));
    });
    return "ok";
  },
});

interface Bucket {
  readonly bucket: string;
  readonly entries: number;
  readonly logicalBytes: number;
}

function* bucketLines(buckets: readonly Bucket[], isJson: boolean): Generator<string> {
  for (const bucket of buckets.toSorted((a, b) => (a.bucket < b.bucket ? -1 : 1))) {
    const { entries, logicalBytes } = bucket;
    yield isJson
      ? JSON.stringify(bucket)
      : columns(
          entries.toLocaleString("en-US"),
          formatByteSizeRounded(logicalBytes),
          bucket.bucket,
        );
  }
}

interface Listed {
  readonly key: string;
  readonly sizeBytes: number;
  readonly tier: string;
  readonly isComplete: boolean;
  readonly isPinned: boolean;
}

function* objectLines(
  bucket: string,
  entries: Iterable<Listed>,
  isJson: boolean,
): Generator<string> {
  for (const entry of entries) {
    const { key, sizeBytes, tier, isComplete, isPinned } = entry;
    const marks = [tier, ...(isComplete ? [] : ["part"]), ...(isPinned ? ["pinned"] : [])];
    yield isJson
      ? JSON.stringify({ bucket, ...entry })
      : columns(formatByteSizeRounded(sizeBytes), marks.join(", "), printable(key));
  }
}

const columns = (first: string, second: string, third: string): string =>
  `${first.padStart(10)}  ${second.padEnd(SECOND_WIDTH)}  ${third}`;

/** As wide as "segment, pinned". */
const SECOND_WIDTH = 15;
