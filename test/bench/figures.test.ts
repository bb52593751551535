// Goal: what is published follows from what was measured, and a promise that is broken is noticed.

import { describe, expect, test } from "bun:test";
import { join } from "node:path";

import { accept, complaints, judge, parseBudgets } from "../../scripts/bench/budgets.ts";
import type { Budget } from "../../scripts/bench/budgets.ts";
import { FULL_DATA, QUICK_DATA } from "../../scripts/bench/data-set.ts";
import type { GroupResult } from "../../scripts/bench/load/plan.ts";
import type { Measurement } from "../../scripts/bench/measurement.ts";
import { median, metricOf, Results, spreadOf } from "../../scripts/bench/measurement.ts";
import { drawPlots } from "../../scripts/bench/plots.ts";
import { withGenerated } from "../../scripts/bench/report.ts";
import { workloads } from "../../scripts/bench/workloads.ts";
import { parsePeer } from "../../scripts/bench/contenders/peer.ts";

const GROUP: GroupResult = {
  requests: 1000,
  latency: {
    count: 1000,
    meanUs: 1,
    p50Us: 100,
    p90Us: 200,
    p99Us: 300,
    p999Us: 400,
    maxUs: 500,
  },
  firstByte: { count: 1000, meanUs: 1, p50Us: 10, p90Us: 20, p99Us: 30, p999Us: 40, maxUs: 50 },
};

function measurement(changes: {
  contender: string;
  round?: number;
  cpuMs?: number;
  rssSeries?: readonly number[];
}): Measurement {
  return {
    workload: "hit",
    caseName: "1 KiB",
    contender: changes.contender,
    round: changes.round ?? 0,
    load: {
      seconds: 2,
      requests: 1000,
      bodyBytes: 1000 * 1024,
      errors: 0,
      errorSamples: [],
      hitShare: 1,
      groups: { all: GROUP },
      serverCpuMs: changes.cpuMs ?? 20,
      clientCpuMs: 500,
    },
    hasServerFigures: true,
    peakBytes: 100 * 2 ** 20,
    rssSeries: changes.rssSeries ?? [],
    originRequests: 0,
    originBodyBytes: 0,
  };
}

const of = { workload: "hit", caseName: "1 KiB", contender: "tag" };
const against = { ...of, contender: "nginx" };

describe("figures", () => {
  test("are per second, per request and per MiB of the measured window", () => {
    const one = measurement({ contender: "tag" });
    expect(metricOf(one, "requestsPerSecond")).toBe(500);
    expect(metricOf(one, "cpuUsPerRequest")).toBe(20);
    expect(metricOf(one, "cpuUsPerMib")).toBeCloseTo(20_480);
    expect(metricOf(one, "clientShare")).toBe(0.25);
    expect(metricOf(one, "p99Us")).toBe(300);
    expect(metricOf(one, "peakMib")).toBe(100);
  });

  test("of a server that is not ours have no CPU and no memory", () => {
    const foreign = { ...measurement({ contender: "peer" }), hasServerFigures: false };
    expect(metricOf(foreign, "cpuUsPerRequest")).toBeUndefined();
    expect(metricOf(foreign, "peakMib")).toBeUndefined();
  });

  test("compare within a round, so that a slow minute cancels out", () => {
    const results = new Results([
      measurement({ contender: "tag", round: 0, cpuMs: 20 }),
      measurement({ contender: "nginx", round: 0, cpuMs: 10 }),
      measurement({ contender: "tag", round: 1, cpuMs: 60 }),
      measurement({ contender: "nginx", round: 1, cpuMs: 30 }),
      measurement({ contender: "tag", round: 2, cpuMs: 33 }),
      measurement({ contender: "nginx", round: 2, cpuMs: 11 }),
    ]);
    expect(results.compare(of, against, "cpuUsPerRequest")).toEqual({
      median: 2,
      min: 2,
      max: 3,
      count: 3,
    });
    expect(results.compare(of, { ...of, contender: "nobody" }, "seconds")).toBeUndefined();
  });

  test("take the middle of an even number of rounds between the two middle ones", () => {
    expect(median([4, 1, 3, 2])).toBe(2.5);
    expect(spreadOf([undefined, Number.NaN])).toBeUndefined();
  });

  test("show growth of memory only from a series long enough", () => {
    const series = [50, 90, 100, 100, 100, 100, 100, 100, 120, 120];
    const long = measurement({ contender: "tag", rssSeries: series });
    expect(metricOf(long, "rssGrowth")).toBeCloseTo(1.2);
    expect(metricOf(measurement({ contender: "tag" }), "rssGrowth")).toBeUndefined();
  });
});

describe("promises", () => {
  const budget: Budget = {
    id: "hit",
    promise: "A hit costs at most twice as much.",
    metric: "cpuUsPerRequest",
    of,
    against,
    as: "ratio",
    goal: { atMost: 2.2 },
    accepted: 2,
    margin: 0.1,
  };

  function judged(tagCpuMs: number, changes: Partial<Budget> = {}) {
    const results = new Results([
      measurement({ contender: "tag", cpuMs: tagCpuMs }),
      measurement({ contender: "nginx", cpuMs: 10 }),
    ]);
    return judge({ ...budget, ...changes }, results);
  }

  const rows: readonly [
    tagCpuMs: number,
    changes: Partial<Budget>,
    kept: boolean,
    fallen: boolean,
    why: string,
  ][] = [
    [20, {}, true, false, "as accepted"],
    [21.9, {}, true, false, "worse, within the margin"],
    [22.1, {}, false, true, "worse than the margin"],
    [21.9, { accepted: 1.5 }, true, true, "within the goal, but it was better once"],
    [40, { accepted: 4 }, false, false, "far from the goal, as before"],
    [40, { accepted: null }, false, false, "nothing was accepted yet"],
    [10, { goal: { atLeast: 1.5 }, accepted: 2 }, false, true, "less where more is wanted"],
    [30, { goal: { atLeast: 1.5 }, accepted: 2 }, true, false, "more where more is wanted"],
  ];
  test.each(rows)("%d ms with %o: kept %p, fallen %p (%s)", (cpuMs, changes, kept, fallen) => {
    expect(judged(cpuMs, changes)).toMatchObject({ reachesGoal: kept, hasFallen: fallen });
  });

  test("that were not measured neither hold nor fall, and keep their accepted value", () => {
    const verdict = judge(budget, new Results([]));
    expect(verdict).toMatchObject({ found: undefined, reachesGoal: undefined, hasFallen: false });
    expect(accept([verdict])).toEqual([budget]);
  });

  test("take over the values of an accepted run, and name what has fallen", () => {
    expect(accept([judged(18)])[0]?.accepted).toBe(1.8);
    expect(complaints([judged(20)])).toEqual([]);
    expect(complaints([judged(50)])).toEqual(["hit: 5.00, accepted was 2 (margin 10 %)"]);
  });

  test("for everywhere hold for the worst measurement", () => {
    const everywhere: Partial<Budget> = {
      of: { workload: "*", caseName: "*", contender: "tag" },
      metric: "peakMib",
      as: "value",
      goal: { atMost: 400 },
    };
    expect(judged(1, everywhere).found?.median).toBe(100);
  });

  test("of the project name workloads and cases that exist, at both scales", async () => {
    const budgets = parseBudgets(await Bun.file(join(import.meta.dir, "budgets.json")).text());
    expect(budgets.length).toBeGreaterThan(10);
    for (const dataSet of [FULL_DATA, QUICK_DATA]) {
      const table = workloads({
        dataSet,
        rounds: 1,
        settleMs: 1,
        warmupMs: 1,
        durationMs: 1,
        soakMs: 1,
        epochs: 2,
      });
      const known = table.flatMap(({ name, cases }) =>
        cases.flatMap(({ name: caseName, passes }) =>
          passes.length === 1
            ? [`${name}/${caseName}`]
            : passes.map((_, index) => `${name}/${caseName} ${index + 1}`),
        ),
      );
      for (const side of budgets.flatMap((one) => [one.of, one.against ?? one.of])) {
        if (side.workload !== "*") expect(known).toContain(`${side.workload}/${side.caseName}`);
      }
    }
  });

  test.each([
    [`{}`, "a list"],
    [`{"budgets":[{"id":"a","metric":"speed"}]}`, "no metric speed"],
    [
      `{"budgets":[{"id":"a","metric":"seconds","as":"ratio","goal":{"atMost":1},"margin":0}]}`,
      "needs an other side",
    ],
  ])("in a wrong file are refused: %s", (text, complaint) => {
    expect(() => parseBudgets(text)).toThrow(complaint);
  });
});

describe("the document", () => {
  const begin = "<!-- bench:begin (generated by scripts/bench.ts --publish) -->";

  test("changes between the markers and nowhere else", () => {
    const document = `before\n${begin}\nold\n<!-- bench:end -->\nafter`;
    const changed = withGenerated(document, "new");
    expect(changed).toBe(`before\n${begin}\n\nnew\n\n<!-- bench:end -->\nafter`);
    expect(withGenerated(changed, "new")).toBe(changed);
  });

  test("has the markers", async () => {
    const document = await Bun.file(join(import.meta.dir, "../../docs/benchmarks.md")).text();
    expect(withGenerated(document, "new")).toContain("new");
  });

  test("gets pictures of what was measured", () => {
    const results = new Results([
      measurement({ contender: "tag" }),
      measurement({ contender: "nginx" }),
    ]);
    const plots = drawPlots(results);
    expect(plots.map(({ file }) => file)).toEqual([
      "hit-throughput.svg",
      "hit-cpu.svg",
      "hit-latency.svg",
    ]);
    for (const { svg } of plots) expect(svg).toStartWith("<svg");
  });
});

describe("--peer", () => {
  test("takes a name, an address and perhaps a process", () => {
    expect(parsePeer("minio=http://127.0.0.1:9000@17")).toMatchObject({ name: "minio", pid: 17 });
    expect(parsePeer("other=http://cache:80").pid).toBeUndefined();
    expect(() => parsePeer("http://127.0.0.1:9000")).toThrow("is not name=");
  });
});
