/** `tag cache inspect`: everything that is known of one cached object, its checksums included. */

import { formatByteSizeRounded } from "../base/byte-size.ts";
import { systemClock } from "../base/clock.ts";
import { formatDuration } from "../base/duration.ts";
import type { CheckedEntry, InspectedEntry } from "../storage/open.ts";
import { usage } from "./arguments.ts";
import { readStore } from "./cache-access.ts";
import { parseTarget, printable } from "./cache-target.ts";
import { command } from "./command.ts";
import { CONFIG_FLAG, loadForCommand, reportProblems } from "./config-flags.ts";
import { CliError } from "./exit-codes.ts";

export const cacheInspect = command({
  name: "tag cache inspect",
  description:
    "Everything known of one cached object: headers, tier, parts present, age, checksums",
  args: {
    object: {
      type: "positional",
      valueHint: "BUCKET/KEY",
      description: "The object",
      required: true,
    },
    ...CONFIG_FLAG,
    json: { type: "boolean", description: "JSON for machines" },
  },
  examples: [
    [
      "tag cache inspect models/llama/config.json",
      "exit 8 when it is not cached, 9 when it is damaged",
    ],
    [
      "tag cache inspect models/llama/weights.bin --json | jq .present",
      "the parts that are stored",
    ],
  ],
  async run(input) {
    const { args, terminal } = input;
    const { bucket, prefix: key } = parseTarget(args.object);
    if (key === "") throw usage(`"${args.object}" names no object, write bucket/key`);
    const loaded = await loadForCommand(input);
    if (loaded.kind === "failed") return reportProblems(terminal, loaded.problems);

    const text = await readStore(loaded.config, async (reader) => {
      const checked = await reader.check({ bucket, key });
      const entry = reader.inspect({ bucket, key });
      if (checked?.damage !== undefined) {
        // There may be nothing left to show but that.
        if (args.json === true) {
          terminal.out(JSON.stringify({ bucket, key, isIntact: false, damage: checked.damage }));
        }
        throw new CliError(
          "integrity",
          `${bucket}/${printable(key)} is damaged: ${checked.damage}`,
        );
      }
      if (entry === undefined || checked === undefined) return undefined;
      return args.json === true ? renderJson(entry) : renderText(entry, checked);
    });
    if (text === undefined) {
      throw new CliError("notFound", `${bucket}/${printable(key)} is not cached`);
    }
    terminal.out(text);
    return "ok";
  },
});

function presentBytesOf({ present }: InspectedEntry): number {
  return present.reduce((sum, { start, end }) => sum + end - start, 0);
}

function renderJson(entry: InspectedEntry): string {
  const { meta, tier, version, isComplete, isPinned, diskBytes, present } = entry;
  const { id, headers, ...facts } = meta;
  const pairs = Array.from({ length: headers.length / 2 }, (_, index) =>
    headers.slice(2 * index, 2 * index + 2),
  );
  const nowMs = systemClock.nowMs();
  const report = {
    ...id,
    ...facts,
    tier,
    version,
    isComplete,
    isPinned,
    isIntact: true,
    isFresh: nowMs < meta.freshUntilMs,
    ageMs: Math.max(0, nowMs - meta.storedAtMs),
    diskBytes,
    presentBytes: presentBytesOf(entry),
    present,
    headers: pairs,
  };
  return JSON.stringify(report, undefined, 2);
}

/** Ranges that fit on a screen. */
const RANGES_SHOWN = 8;

function renderText(entry: InspectedEntry, { damage }: CheckedEntry): string {
  const { meta, tier, diskBytes, isComplete, isPinned, present } = entry;
  const nowMs = systemClock.nowMs();
  const leftMs = meta.freshUntilMs - nowMs;
  const size = `${formatByteSizeRounded(meta.sizeBytes)} (${meta.sizeBytes} bytes)`;
  const lines = [
    ["Object", `${meta.id.bucket}/${printable(meta.id.key)}`],
    ["Size", size],
    ["ETag", meta.etag],
    ["Tier", `${tier}, ${formatByteSizeRounded(diskBytes)} on disk`],
    ["Present", isComplete ? "all of it" : presentText(entry)],
    [
      "Stored",
      `${new Date(meta.storedAtMs).toISOString()}, ${duration(nowMs - meta.storedAtMs)} ago`,
    ],
    [
      "Fresh",
      leftMs > 0
        ? `until ${new Date(meta.freshUntilMs).toISOString()}, ${duration(leftMs)} from now`
        : "no: upstream is asked before it is used",
    ],
    ["Pinned", isPinned ? "yes: it is not evicted" : "no"],
    ["Public", meta.isPublic ? "yes: an unsigned request may read it" : "no"],
    ["Checksums", damage ?? "ok"],
  ].map(([name = "", value = ""]) => `${name.padEnd(10)}${value}`);
  if (!isComplete) {
    for (const { start, end } of present.slice(0, RANGES_SHOWN))
      lines.push(`          ${start}-${end - 1}`);
    const hidden = present.length - RANGES_SHOWN;
    if (hidden > 0) lines.push(`          and ${hidden} more; --json has them all`);
  }
  lines.push("Headers");
  for (let at = 0; at < meta.headers.length; at += 2) {
    lines.push(`  ${meta.headers[at] ?? ""}: ${meta.headers[at + 1] ?? ""}`);
  }
  return lines.join("\n");
}

function presentText(entry: InspectedEntry): string {
  const presentBytes = presentBytesOf(entry);
  const share = ((100 * presentBytes) / Math.max(1, entry.meta.sizeBytes)).toFixed(1);
  const parts = entry.present.length === 1 ? "1 part" : `${entry.present.length} parts`;
  return `${formatByteSizeRounded(presentBytes)} (${share} %) in ${parts}`;
}

/** To the second: nobody reads milliseconds of a day. */
const duration = (ms: number): string => formatDuration(Math.max(0, Math.round(ms / 1000)) * 1000);
