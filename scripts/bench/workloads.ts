/**
 * The workloads of the benchmark, in the order they run. docs/benchmarks.md explains them; the
 * budgets (test/bench/budgets.json) refer to them by name.
 */

import { seededRandom } from "../../src/base/random.ts";
import type { ClassName } from "./data-set.ts";
import { MIB } from "./data-set.ts";
import type { OriginSettings } from "./origin.ts";
import type { Case, Scale, Workload } from "./workload.ts";
import { rangeReads, reads, shuffled } from "./workload.ts";

const NEARBY: OriginSettings = { latencyMs: 0, bandwidthBytesPerSecond: undefined };
/** An object store in the same region, seen from a training node. */
const REGIONAL: OriginSettings = { latencyMs: 20, bandwidthBytesPerSecond: undefined };
/** A store that limits what one connection gets. */
const NARROW: OriginSettings = { latencyMs: 5, bandwidthBytesPerSecond: 20 * MIB };

/** Connections of the hit workloads, as in the published comparisons (wrk -c32). */
export const CONNECTIONS = 32;
/** Workers of a training job, and how many files each takes at a time. */
export const EPOCH_READERS = { connections: 16, batch: 32 } as const;
/** Large answers: more would only queue in socket buffers. */
const LARGE_CONNECTIONS = 8;
/** Objects read in turn by a hot workload: more than one, few enough to be hot. */
const HOT_OBJECTS = 200;

/** Size classes of the hit workload, with what makes up one pass. */
const HIT_SIZES: readonly [name: string, objects: ClassName, connections: number][] = [
  ["1 KiB", "1k", CONNECTIONS],
  ["16 KiB", "16k", CONNECTIONS],
  ["100 KiB", "100k", CONNECTIONS],
  ["1 MiB", "1m", CONNECTIONS],
  ["8 MiB", "8m", LARGE_CONNECTIONS],
];

const MEMORY_HAS_NO_PAGES = "keeps its objects in memory: nothing to read from disk";
const EVERY_READ_IS_A_MISS = "every read goes to the origin: that is the miss workload";

/** Every workload at the given scale. */
export function workloads(scale: Scale): Workload[] {
  const { dataSet, durationMs } = scale;
  const random = seededRandom(7);

  const hits: Case[] = HIT_SIZES.map(([name, objects, connections]) => ({
    name,
    temperature: "hot",
    connections,
    durationMs,
    passes: [reads(dataSet[objects], HOT_OBJECTS)],
  }));
  hits.push({
    name: "64 MiB range",
    temperature: "hot",
    connections: LARGE_CONNECTIONS,
    durationMs,
    passes: [rangeReads(dataSet.model, 64 * MIB, 2, random)],
    warm: reads(dataSet.model),
  });

  const small = reads(dataSet["1k"], HOT_OBJECTS, "small");
  const pace = { perSecond: 1000, connections: 16, passes: [small] } as const;

  return [
    {
      name: "hit",
      question: "What does a hit cost, by size? Objects and pages are in memory.",
      origin: NEARBY,
      isAboutHits: true,
      cases: hits,
    },
    {
      name: "head",
      question: "What does a HEAD cost?",
      origin: NEARBY,
      isAboutHits: true,
      cases: [
        {
          name: "1 KiB",
          temperature: "hot",
          connections: CONNECTIONS,
          durationMs,
          warm: reads(dataSet["1k"], HOT_OBJECTS),
          passes: [
            reads(dataSet["1k"], HOT_OBJECTS).map((read) => ({ ...read, method: "HEAD" as const })),
          ],
        },
      ],
    },
    {
      name: "ranges",
      question: "Ranges at random places of one model file, as a loader of weights reads them.",
      origin: NEARBY,
      isAboutHits: true,
      cases: [
        {
          name: "1 MiB",
          temperature: "hot",
          connections: 16,
          durationMs,
          warm: reads(dataSet.model),
          passes: [rangeReads(dataSet.model, MIB, 1000, random)],
        },
      ],
    },
    {
      name: "mixed",
      question: "Nine reads of 1 KiB to one of 8 MiB: what do the small ones get?",
      origin: NEARBY,
      isAboutHits: true,
      cases: [
        {
          name: "90/10",
          temperature: "hot",
          connections: CONNECTIONS,
          durationMs,
          warm: [...small, ...reads(dataSet["8m"])],
          passes: [
            shuffled(
              [...small.slice(0, 90), ...repeated(reads(dataSet["8m"], 10, "large"), 10)],
              random,
            ),
          ],
        },
      ],
    },
    {
      name: "fairness",
      question:
        "1000 small hits per second, timed from when they were due: what do eight large cold reads beside them do?",
      origin: NEARBY,
      without: { direct: EVERY_READ_IS_A_MISS },
      isAboutHits: true,
      cases: [
        { name: "idle", temperature: "hot", durationMs, ...pace },
        {
          name: "beside 8 misses of 64 MiB",
          temperature: "empty",
          warm: small,
          background: { requests: reads(dataSet["64m"]), connections: 8 },
          ...pace,
        },
        {
          name: "beside 8 reads of 64 MiB from disk",
          temperature: "on-disk",
          warm: [...small, ...reads(dataSet["64m"])],
          background: { requests: reads(dataSet["64m"]), connections: 8 },
          ...pace,
        },
      ],
    },
    {
      name: "from disk",
      question: "Hits whose pages are not in memory, every object once: a set larger than RAM.",
      origin: NEARBY,
      without: { varnish: MEMORY_HAS_NO_PAGES, direct: EVERY_READ_IS_A_MISS },
      isAboutHits: true,
      cases: [
        {
          name: "100 KiB",
          temperature: "on-disk",
          connections: 16,
          passes: [shuffled(reads(dataSet["100k"], 5000), random)],
        },
        {
          name: "1 MiB",
          temperature: "on-disk",
          connections: LARGE_CONNECTIONS,
          passes: [shuffled(reads(dataSet["1m"]), random)],
        },
        {
          name: "64 MiB",
          temperature: "on-disk",
          connections: LARGE_CONNECTIONS,
          passes: [reads(dataSet["64m"])],
        },
      ],
    },
    {
      name: "miss",
      question:
        "Nothing is cached: what does going through the cache add, and what does it let through?",
      origin: NEARBY,
      isAboutHits: false,
      cases: [
        {
          name: "1 KiB, one reader",
          temperature: "empty",
          connections: 1,
          passes: [reads(dataSet["1k"], 1000)],
        },
        {
          name: "100 KiB, 16 readers",
          temperature: "empty",
          connections: 16,
          passes: [reads(dataSet["100k"], 1000)],
        },
        {
          name: "64 MiB, one reader",
          temperature: "empty",
          connections: 1,
          passes: [reads(dataSet["64m"], 8)],
        },
      ],
    },
    {
      name: "herd",
      question: "One hundred readers want the same object at once, and nobody has it.",
      origin: NEARBY,
      isAboutHits: false,
      cases: [
        {
          name: "8 MiB, 100 readers",
          temperature: "empty",
          connections: 100,
          passes: [repeated(reads(dataSet["8m"], 1), 100)],
        },
      ],
    },
    {
      name: "narrow origin",
      question: "The origin gives one connection 20 MiB/s: how long does a large cold object take?",
      origin: NARROW,
      isAboutHits: false,
      cases: [
        {
          name: "one large object",
          temperature: "empty",
          connections: 1,
          passes: [reads(dataSet.model)],
        },
      ],
    },
    {
      name: "epochs",
      question:
        "A training job: 16 workers read every file of 100 KiB in batches of 32, shuffled anew each epoch; the origin is 20 ms away.",
      origin: REGIONAL,
      isAboutHits: false,
      cases: [
        {
          name: "epoch",
          temperature: "empty",
          ...EPOCH_READERS,
          passes: Array.from({ length: scale.epochs }, () =>
            shuffled(reads(dataSet["100k"]), random),
          ),
        },
      ],
    },
    {
      name: "soak",
      question: "Small and large hits for ten minutes: does memory stay where it is?",
      origin: NEARBY,
      only: ["tag"],
      isAboutHits: true,
      cases: [
        {
          name: "mixed",
          temperature: "hot",
          connections: CONNECTIONS,
          durationMs: scale.soakMs,
          warm: [...small, ...reads(dataSet["1m"])],
          passes: [shuffled([...small, ...reads(dataSet["1m"], 24, "large")], random)],
        },
      ],
    },
  ];
}

function repeated<T>(items: readonly T[], count: number): T[] {
  return Array.from({ length: count }, (_, index) => items[index % items.length] as T);
}
