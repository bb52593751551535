/** `tag cache stats`: the cache on one screen, as JSON, or as a textfile for node_exporter. */

import { formatByteSizeRounded } from "../base/byte-size.ts";
import { formatDuration } from "../base/duration.ts";
import { usage } from "./arguments.ts";
import type { CacheReport, PinsReport } from "./cache-report.ts";
import { formatTarget } from "./cache-target.ts";
import { command } from "./command.ts";
import { CONFIG_FLAG, loadForCommand, reportProblems } from "./config-flags.ts";

/** What fits on a screen below the summary. */
const BUCKETS_SHOWN = 12;

export const cacheStats = command({
  name: "tag cache stats",
  description:
    "What the cache holds and how it does; works beside a running server and when it is down",
  args: {
    ...CONFIG_FLAG,
    json: { type: "boolean", description: "JSON for machines" },
    prometheus: { type: "boolean", description: "Textfile for the collector of node_exporter" },
  },
  examples: [
    ["tag cache stats", "one screen"],
    ["tag cache stats --json | jq .live.hitRatio", "for scripts; null while the server is down"],
    ["tag cache stats --prometheus > tag.prom", "for cron"],
  ],
  async run(input) {
    const { args, terminal } = input;
    if (args.json && args.prometheus) throw usage("--json and --prometheus exclude each other");
    const loaded = await loadForCommand(input);
    if (loaded.kind === "failed") return reportProblems(terminal, loaded.problems);

    const { reportCache } = await import("./cache-report.ts");
    const report = await reportCache(loaded.config);
    if (args.json) {
      const { store, live = null } = report;
      terminal.out(JSON.stringify({ store, live }, null, 2));
    } else if (args.prometheus) {
      const { renderTextfile } = await import("./store-metrics.ts");
      terminal.out(renderTextfile(report).trimEnd());
    } else {
      terminal.out(await renderScreen(report));
    }
    return "ok";
  },
});

async function renderScreen({ store, live }: CacheReport): Promise<string> {
  const { default: Table } = await import("cli-table3");
  const style = { head: [], border: [], compact: true };
  const bytes = formatByteSizeRounded;
  const lines = [
    `Cache     ${store.folder}${store.isPresent ? "" : " (empty, nothing was cached here yet)"}`,
    `Objects   ${count(store.entries)}, ${bytes(store.logicalBytes)}`,
    `On disk   ${bytes(store.physicalBytes)}${capacity(store.physicalBytes, store.capacityBytes)}`,
    live === undefined
      ? "Server    not running"
      : `Server    ${live.url}, ${count(live.hits)} hits, ${count(live.misses)} misses` +
        (live.hitRatio === undefined ? "" : ` (${percent(live.hitRatio)} hits)`),
    ...(live?.byteHitRatio === undefined
      ? []
      : [
          `Bytes     ${bytes(live.hitBytes)} from the cache, ${bytes(live.missBytes)} not ` +
            `(${percent(live.byteHitRatio)} of the bytes hits)`,
        ]),
    `Evicted   ${count(store.evictedEntries)} objects, ${bytes(store.evictedBytes)}` +
      (store.evictionAgeMs === undefined
        ? ""
        : `; the oldest body is from ${age(store.evictionAgeMs)} ago`),
    ...pinLines(store.pins),
    ...(store.unreadableShards === 0
      ? []
      : [
          `Damaged   ${store.unreadableShards} of the catalog's files cannot be read: not counted here`,
        ]),
    ...(store.writeAmplification === undefined
      ? []
      : [
          `Written   ${bytes(store.storedBytes + store.movedBytes)}, ` +
            `${store.writeAmplification.toFixed(2)} times what was stored`,
        ]),
  ];
  if (store.tiers.length > 0) {
    const table = new Table({
      head: ["tier", "objects", "bytes", "on disk"],
      style,
      colAligns: ALIGNS,
    });
    for (const { tier, entries, logicalBytes, diskBytes } of store.tiers) {
      table.push([tier, count(entries), bytes(logicalBytes), bytes(diskBytes)]);
    }
    lines.push("", table.toString());
  }
  if (store.buckets.length > 0) {
    const table = new Table({
      head: ["bucket", "objects", "bytes", "on disk", "pinned", "quota"],
      style,
      colAligns: ALIGNS,
    });
    for (const one of store.buckets.slice(0, BUCKETS_SHOWN)) {
      table.push([
        one.bucket,
        count(one.entries),
        bytes(one.logicalBytes),
        bytes(one.diskBytes),
        one.pinnedEntries === 0 ? "" : bytes(one.pinnedBytes),
        one.quotaBytes === undefined ? "" : bytes(one.quotaBytes),
      ]);
    }
    lines.push("", table.toString());
    const hidden = store.buckets.length - BUCKETS_SHOWN;
    if (hidden > 0) lines.push(`and ${hidden} smaller buckets; --json has them all`);
  }
  return lines.join("\n");
}

/** Prefixes that fit on a screen. */
const PINS_SHOWN = 8;

function pinLines({ prefixes, entries, bytes, maxBytes }: PinsReport): string[] {
  if (prefixes.length === 0) return [];
  const size = formatByteSizeRounded;
  const bound = maxBytes === undefined ? "" : ` of at most ${size(maxBytes)}`;
  const hidden = prefixes.length - PINS_SHOWN;
  return [
    `Pinned    ${count(entries)} objects, ${size(bytes)}${bound}`,
    ...prefixes
      .slice(0, PINS_SHOWN)
      .map((pin) => `          ${formatTarget(pin)}${pin.origin === "config" ? " (a rule)" : ""}`),
    ...(hidden > 0 ? [`          and ${hidden} more; --json has them all`] : []),
  ];
}

const ALIGNS: ("left" | "right")[] = ["left", "right", "right", "right", "right", "right"];

const count = (value: number): string => value.toLocaleString("en-US");

const age = (ms: number): string => formatDuration(Math.round(ms / 1000) * 1000);

const percent = (ratio: number): string => `${(ratio * 100).toFixed(1)} %`;

function capacity(usedBytes: number, capacityBytes: number | undefined): string {
  if (capacityBytes === undefined || capacityBytes <= 0) return "";
  return ` of ${formatByteSizeRounded(capacityBytes)} (${percent(usedBytes / capacityBytes)})`;
}
