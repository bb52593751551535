/**
 * Results as pictures: throughput by size, latency distributions, epoch times; SVG files, drawn by
 * echarts without a browser.
 */

import { BarChart, LineChart } from "echarts/charts";
import { GridComponent, LegendComponent, TitleComponent } from "echarts/components";
import { init, use } from "echarts/core";
import type { EChartsCoreOption } from "echarts/core";
import { SVGRenderer } from "echarts/renderers";

import type { Metric, Results } from "./measurement.ts";

use([BarChart, LineChart, GridComponent, LegendComponent, TitleComponent, SVGRenderer]);

const WIDTH = 860;
const HEIGHT = 400;

/** One colour per contender in all pictures, told apart by people who see red and green alike too. */
const COLORS: Readonly<Record<string, string>> = {
  tag: "#0072b2",
  "tag-read": "#56b4e9",
  nginx: "#009e73",
  varnish: "#cc79a7",
  direct: "#7f7f7f",
};
const OTHER_COLORS = ["#e69f00", "#d55e00", "#000000"];

function colorOf(contender: string, index: number): string {
  return COLORS[contender] ?? OTHER_COLORS[index % OTHER_COLORS.length] ?? "#000000";
}

export interface Plot {
  readonly workload: string;
  /** Without folder. */
  readonly file: string;
  readonly svg: string;
}

/** Every picture the results are enough for. */
export function drawPlots(results: Results): Plot[] {
  const plots: Plot[] = [];
  const add = (workload: string, file: string, picture: () => string) => {
    if (results.cases(workload).length > 0) plots.push({ workload, file, svg: picture() });
  };
  add("hit", "hit-throughput.svg", () =>
    bars(results, "hit", "mibPerSecond", 1, "Hits: MiB/s by size (one core, logarithmic)", "MiB/s"),
  );
  add("hit", "hit-cpu.svg", () =>
    bars(results, "hit", "cpuUsPerRequest", 1, "Hits: CPU per request (logarithmic)", "µs"),
  );
  add("hit", "hit-latency.svg", () => latencies(results, "hit", "1 KiB"));
  add("fairness", "fairness.svg", () =>
    bars(results, "fairness", "p99Us", 1e-3, "p99 of small hits beside large reads", "ms"),
  );
  add("miss", "miss-latency.svg", () => latencies(results, "miss", "1 KiB, one reader"));
  add("epochs", "epochs.svg", () =>
    bars(results, "epochs", "seconds", 1, "Time per epoch, origin 20 ms away", "s"),
  );
  return plots;
}

function bars(
  results: Results,
  workload: string,
  metric: Metric,
  scale: number,
  title: string,
  unit: string,
): string {
  const cases = results.cases(workload);
  const series = contendersOf(results, workload).map((contender) => ({
    name: contender,
    type: "bar" as const,
    data: cases.map((caseName) => {
      const spread = results.spread({ workload, caseName, contender }, metric);
      return spread === undefined ? null : spread.median * scale;
    }),
  }));
  return draw(title, cases, unit, series);
}

const QUANTILES: readonly [
  name: string,
  metric: "p50Us" | "p90Us" | "p99Us" | "p999Us" | "maxUs",
][] = [
  ["50 %", "p50Us"],
  ["90 %", "p90Us"],
  ["99 %", "p99Us"],
  ["99.9 %", "p999Us"],
  ["all", "maxUs"],
];

function latencies(results: Results, workload: string, caseName: string): string {
  const series = contendersOf(results, workload).map((contender) => {
    const rounds = results.select({ workload, caseName, contender });
    return {
      name: contender,
      type: "line" as const,
      data: QUANTILES.map(([, quantile]) => {
        const values = rounds.map(({ load }) => Object.values(load.groups)[0]?.latency[quantile]);
        const known = values.filter((value) => value !== undefined).toSorted((a, b) => a - b);
        const middle = known[Math.floor(known.length / 2)];
        return middle === undefined ? null : middle / 1000;
      }),
    };
  });
  const title = `Latency, ${workload}, ${caseName}: so many requests took at most`;
  return draw(
    title,
    QUANTILES.map(([name]) => name),
    "ms",
    series,
  );
}

function contendersOf(results: Results, workload: string): string[] {
  return results
    .contenders()
    .filter((name) =>
      results.all.some((one) => one.workload === workload && one.contender === name),
    );
}

function draw(
  title: string,
  categories: readonly string[],
  unit: string,
  series: readonly { readonly name: string }[],
): string {
  const chart = init(null, null, { renderer: "svg", ssr: true, width: WIDTH, height: HEIGHT });
  const option: EChartsCoreOption = {
    animation: false,
    backgroundColor: "#ffffff",
    title: { text: title, left: "center", textStyle: { fontSize: 15 } },
    legend: { bottom: 4 },
    grid: { left: 70, right: 20, top: 50, bottom: 60 },
    xAxis: {
      type: "category",
      data: categories,
      axisLabel: { interval: 0, width: 130, overflow: "break" },
    },
    yAxis: { type: "log", name: unit, minorSplitLine: { show: false } },
    color: series.map(({ name }, index) => colorOf(name, index)),
    series,
  };
  chart.setOption(option);
  const svg = chart.renderToSVGString();
  chart.dispose();
  return svg;
}
