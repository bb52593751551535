/**
 * Results as Markdown: the generated part of docs/benchmarks.md.
 */

import type { Verdict } from "./budgets.ts";
import type { Metric, Results, Spread } from "./measurement.ts";
import type { Machine } from "./proc.ts";
import type { Workload } from "./workload.ts";

/** Facts about a run that belong beside its figures. */
export interface RunFacts {
  /** Date of the run, ISO, without the time of day. */
  readonly date: string;
  readonly commit: string;
  readonly machine: Machine;
  readonly rounds: number;
  readonly durationMs: number;
  readonly isQuick: boolean;
  /** Of others, just before the run began: above a few tenths the figures are not to be trusted. */
  readonly loadBefore: number;
  readonly loadAfter: number;
  /** Program names with their versions. */
  readonly versions: Readonly<Record<string, string>>;
  /** What the generator itself costs, against the null server. */
  readonly generator: { readonly perSecond: number; readonly cpuUsPerRequest: number };
}

export interface Report {
  readonly facts: RunFacts;
  readonly workloads: readonly Workload[];
  readonly results: Results;
  readonly verdicts: readonly Verdict[];
  /** Image files by the workload they belong to, relative to the document. */
  readonly plots: Readonly<Record<string, readonly string[]>>;
}

/** Against whom ratios are shown, per workload: a cache where hits count, no cache where misses do. */
function baselineOf(workload: Workload, results: Results): string | undefined {
  const wanted = workload.isAboutHits ? "nginx" : "direct";
  return results.all.some((one) => one.workload === workload.name && one.contender === wanted)
    ? wanted
    : undefined;
}

export function renderReport(report: Report): string {
  const { facts, workloads, results, verdicts } = report;
  const sections = workloads
    .filter(({ name }) => results.workloads().includes(name))
    .map((workload) => renderWorkload(workload, report));
  return [
    ...(facts.isQuick
      ? ["> **A quick run.** It shows that everything works; its figures mean nothing.", ""]
      : []),
    renderFacts(facts),
    "### Promises",
    "",
    renderVerdicts(verdicts),
    ...sections,
  ].join("\n");
}

function renderFacts(facts: RunFacts): string {
  const { machine, versions, generator } = facts;
  const memory = `${Math.round(machine.memoryBytes / 2 ** 30)} GiB`;
  const rows: [string, string][] = [
    ["Date, commit", `${facts.date}, ${facts.commit}`],
    [
      "Machine",
      `${machine.cpu}, ${machine.cores} cores, ${memory}, ${machine.hypervisor}, Linux ${machine.kernel}`,
    ],
    [
      "Programs",
      Object.entries(versions)
        .map(([name, version]) => `${name} ${version}`)
        .join(", "),
    ],
    ["Rounds", `${facts.rounds} of ${facts.durationMs / 1000} s per point, contenders in turn`],
    [
      "Other load",
      `${facts.loadBefore.toFixed(2)} runnable processes before, ${facts.loadAfter.toFixed(2)} after (own load included)`,
    ],
    [
      "Load generator",
      `${Math.round(generator.perSecond)} requests/s against a server that does nothing, ${generator.cpuUsPerRequest.toFixed(1)} µs of its own each`,
    ],
  ];
  return `${table(["", ""], rows)}\n`;
}

function renderVerdicts(verdicts: readonly Verdict[]): string {
  const rows = verdicts.map(({ budget, found, reachesGoal }) => {
    const { goal } = budget;
    const limit = "atMost" in goal ? `≤ ${goal.atMost}` : `≥ ${goal.atLeast}`;
    const verdict = reachesGoal === undefined ? "not measured" : reachesGoal ? "yes" : "**no**";
    return [budget.promise, limit, found === undefined ? "" : withSpread(found), verdict];
  });
  return `${table(["Promise", "Goal", "Found (lowest to highest)", "Kept"], rows)}\n`;
}

interface Column {
  readonly title: string;
  readonly metric: Metric;
  readonly digits: number;
  readonly scale?: number;
}

const RATE: Column = { title: "requests/s", metric: "requestsPerSecond", digits: 0 };
const THROUGHPUT: Column = { title: "MiB/s", metric: "mibPerSecond", digits: 0 };
const CPU: Column = { title: "CPU µs/request", metric: "cpuUsPerRequest", digits: 1 };
const CPU_MIB: Column = { title: "CPU µs/MiB", metric: "cpuUsPerMib", digits: 0 };
const LATENCIES: readonly Column[] = [
  { title: "first byte p50 ms", metric: "firstByteP50Us", digits: 2, scale: 1e-3 },
  { title: "p50 ms", metric: "p50Us", digits: 2, scale: 1e-3 },
  { title: "p99 ms", metric: "p99Us", digits: 2, scale: 1e-3 },
  { title: "p99.9 ms", metric: "p999Us", digits: 2, scale: 1e-3 },
];
const SECONDS: Column = { title: "seconds", metric: "seconds", digits: 2 };
const PEAK: Column = { title: "RSS MiB", metric: "peakMib", digits: 0 };
const ORIGIN: Column = { title: "origin requests", metric: "originRequests", digits: 0 };
const CLIENT: Column = { title: "client busy %", metric: "clientShare", digits: 0, scale: 100 };

function renderWorkload(workload: Workload, { results, plots }: Report): string {
  const baseline = baselineOf(workload, results);
  const columns = workload.isAboutHits
    ? [RATE, THROUGHPUT, CPU, CPU_MIB, ...LATENCIES, PEAK, CLIENT]
    : [SECONDS, RATE, THROUGHPUT, CPU, ...LATENCIES, ORIGIN, PEAK];
  // The figure that is put in relation: CPU where hits are compared, speed where misses are.
  const compared: Metric = workload.isAboutHits ? "cpuUsPerRequest" : "requestsPerSecond";
  const ratioTitle = workload.isAboutHits ? `CPU, × ${baseline}` : `speed, × ${baseline}`;
  const lines = ["", `### ${capitalised(workload.name)}`, "", workload.question, ""];
  for (const image of plots[workload.name] ?? []) lines.push(`![${workload.name}](${image})`, "");
  const rows: string[][] = [];
  for (const caseName of results.cases(workload.name)) {
    for (const contender of results.contenders()) {
      const selection = { workload: workload.name, caseName, contender };
      if (results.select(selection).length === 0) continue;
      const figures = columns.map(({ metric, digits, scale = 1 }) => {
        const spread = results.spread(selection, metric);
        return spread === undefined ? "" : (spread.median * scale).toFixed(digits);
      });
      const ratio =
        baseline === undefined
          ? undefined
          : results.compare(selection, { ...selection, contender: baseline }, compared);
      rows.push([
        caseName,
        contender,
        ...(baseline === undefined ? [] : [ratio === undefined ? "" : withSpread(ratio)]),
        ...figures,
      ]);
    }
  }
  const heads = [
    "case",
    "server",
    ...(baseline === undefined ? [] : [ratioTitle]),
    ...columns.map(({ title }) => title),
  ];
  lines.push(table(heads, rows));
  lines.push(...irregularities(workload, results));
  for (const [contender, reason] of Object.entries(workload.without ?? {})) {
    lines.push("", `${contender} does not take part: ${reason}.`);
  }
  return `${lines.join("\n")}\n`;
}

/** What makes a figure mean something else than it seems to: failed requests, hits that were none. */
function irregularities(workload: Workload, results: Results): string[] {
  const lines: string[] = [];
  for (const one of results.all) {
    if (one.workload !== workload.name) continue;
    const where = `${one.caseName}, ${one.contender}, round ${one.round + 1}`;
    const { errors, errorSamples, hitShare } = one.load;
    if (errors > 0)
      lines.push("", `**${where}: ${errors} errors**, such as ${errorSamples[0] ?? ""}`);
    if (workload.isAboutHits && one.contender !== "direct" && hitShare < 0.999) {
      lines.push("", `**${where}: only ${(hitShare * 100).toFixed(1)} % were hits.**`);
    }
  }
  return lines;
}

function withSpread({ median, min, max, count }: Spread): string {
  const text = (value: number) =>
    Math.abs(value) >= 100 ? value.toFixed(0) : Number(value.toPrecision(3)).toString();
  return count === 1 ? text(median) : `${text(median)} (${text(min)} to ${text(max)})`;
}

function table(heads: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) => `| ${cells.join(" | ")} |`;
  return [line(heads), line(heads.map(() => "---")), ...rows.map(line)].join("\n");
}

function capitalised(text: string): string {
  return text.slice(0, 1).toUpperCase() + text.slice(1);
}

const BEGIN = "<!-- bench:begin (generated by scripts/bench.ts --publish) -->";
const END = "<!-- bench:end -->";

/** The document with its generated part replaced. Throws when it has no place for it. */
export function withGenerated(document: string, generated: string): string {
  const from = document.indexOf(BEGIN);
  const to = document.indexOf(END);
  if (from === -1 || to < from) throw new RangeError(`the document lacks ${BEGIN} and ${END}`);
  return `${document.slice(0, from + BEGIN.length)}\n\n${generated.trim()}\n\n${document.slice(to)}`;
}
