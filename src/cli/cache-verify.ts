/**
 * `tag cache verify`: reads every cached byte and compares it with its checksum. Also while
 * the server runs, which is then asked to drop what is damaged.
 */

import type { Config } from "../config/options.ts";
import type { CatalogReader, CheckedEntry } from "../storage/open.ts";
import { change, readStore } from "./cache-access.ts";
import { startProgress } from "./cache-progress.ts";
import { printable } from "./cache-target.ts";
import { command } from "./command.ts";
import { CONFIG_FLAG, loadForCommand, reportProblems } from "./config-flags.ts";

/** What a call may carry is bounded, and keys may have 1024 bytes. */
const DAMAGED_PER_CALL = 400;

interface Damage {
  readonly bucket: string | null;
  readonly key: string | null;
  readonly version: number;
  readonly damage: string;
}

export const cacheVerify = command({
  name: "tag cache verify",
  description:
    "Compare every cached byte with its checksum: exit 0 when all is well, 9 when something is damaged",
  args: {
    ...CONFIG_FLAG,
    repair: {
      type: "boolean",
      description: "Drop what is damaged; it is fetched again when asked for",
    },
    json: { type: "boolean", description: "JSON for machines" },
  },
  examples: [
    ["tag cache verify", "look only; works beside a running server"],
    [
      "tag cache verify --repair",
      "and drop what is damaged; still exit 9, since the disk deserves a look",
    ],
  ],
  async run(input) {
    const { args, terminal } = input;
    const loaded = await loadForCommand(input);
    if (loaded.kind === "failed") return reportProblems(terminal, loaded.problems);
    const { config } = loaded;

    const { entries, sizeBytes, damaged } = (await readStore(config, verify)) ?? NOTHING;
    const dropped = args.repair === true ? await drop(config, damaged) : 0;

    if (args.json === true) {
      terminal.out(JSON.stringify({ entries, sizeBytes, damaged, dropped }, undefined, 2));
    } else {
      for (const { bucket, key, damage } of damaged) {
        const name = bucket === null || key === null ? "" : `${bucket}/${printable(key)}: `;
        terminal.out(`${name}${damage}`);
      }
      const found = damaged.length === 0 ? "all as they were stored" : `${damaged.length} damaged`;
      const objects = entries === 1 ? "1 object" : `${entries.toLocaleString("en-US")} objects`;
      const what = `${objects} checked, ${found}`;
      terminal.out(
        args.repair === true && damaged.length > 0 ? `${what}, ${dropped} dropped` : what,
      );
    }
    return damaged.length === 0 ? "ok" : "integrity";
  },
});

interface Findings {
  readonly entries: number;
  readonly sizeBytes: number;
  readonly damaged: readonly Damage[];
}

const NOTHING: Findings = { entries: 0, sizeBytes: 0, damaged: [] };

async function verify(reader: CatalogReader): Promise<Findings> {
  const progress = await startProgress("Verifying", totalBytesOf(reader));
  let entries = 0;
  let sizeBytes = 0;
  const damaged: Damage[] = [];
  try {
    for await (const checked of reader.scrub()) {
      entries += 1;
      sizeBytes += checked.diskBytes;
      progress.advanceTo(sizeBytes);
      if (checked.damage !== undefined) damaged.push(damageOf(checked, checked.damage));
    }
  } finally {
    progress.stop();
  }
  return { entries, sizeBytes, damaged };
}

/** For the bar only: a catalog too damaged to be summed up is looked at all the same. */
function totalBytesOf(reader: CatalogReader): number {
  try {
    return reader.summary().tiers.reduce((sum, tier) => sum + tier.diskBytes, 0);
  } catch {
    return 0;
  }
}

function damageOf({ id, version }: CheckedEntry, damage: string): Damage {
  return { bucket: id?.bucket ?? null, key: id?.key ?? null, version, damage };
}

/** Has the owner of the store drop what is damaged; answers how many are gone. */
async function drop(config: Config, damaged: readonly Damage[]): Promise<number> {
  const named = damaged.flatMap(({ bucket, key, version }) =>
    bucket === null || key === null ? [] : [{ bucket, key, version }],
  );
  if (damaged.length === 0) return 0;
  let dropped = 0;
  // Once also for nothing: a store that is opened sets unreadable catalog shards up anew.
  for (let at = 0; at === 0 || at < named.length; at += DAMAGED_PER_CALL) {
    const some = named.slice(at, at + DAMAGED_PER_CALL);
    const done = await change<{ readonly dropped: number }>(config, {
      action: "verify",
      input: { damaged: some },
      offline(storage) {
        const isThere = (body: (typeof some)[number]): boolean =>
          storage.lookup(body)?.version === body.version;
        storage.remove(some.filter(isThere));
        return { dropped: some.filter((body) => !isThere(body)).length };
      },
    });
    dropped += done?.dropped ?? 0;
  }
  return dropped;
}
