// Goal: a flame graph shows what was sampled: widths add up, names are found, nothing breaks the file.

import { describe, expect, test } from "bun:test";

import { drawFlameGraph } from "../../scripts/bench/flame-graph.ts";
import {
  below,
  shares,
  stacksOf,
  stacksOfCpuProfile,
  stacksOfPerfScript,
} from "../../scripts/bench/stacks.ts";

const STACKS = stacksOf([
  [["main", "a", "b"], 3],
  [["main", "a"], 1],
  [["main", "c", "a"], 4],
  [["other"], 2],
]);

describe("stacks", () => {
  test("of equal frames are one, and a function counts once per stack however often it is in it", () => {
    const doubled = stacksOf([
      [["a", "b", "a"], 1],
      [["a", "b", "a"], 2],
    ]);
    expect([...doubled.weights]).toEqual([["a;b;a", 3]]);
    expect(shares(doubled)).toContainEqual({ name: "a", self: 1, inclusive: 1 });
  });

  test("give every function its own share and that with its callees", () => {
    expect(shares(STACKS)[0]).toEqual({ name: "a", self: 0.5, inclusive: 0.8 });
    expect(shares(STACKS)).toContainEqual({ name: "main", self: 0, inclusive: 0.8 });
  });

  test("can be cut down to what lies below a frame", () => {
    const cut = below(STACKS, (frame) => frame === "a");
    expect(cut.total).toBe(8);
    expect([...cut.weights.keys()]).toEqual(["a;b", "a"]);
  });

  test("are read from a .cpuprofile, with files relative to the root", () => {
    const frame = (functionName: string, url: string, lineNumber: number) => ({
      functionName,
      url,
      lineNumber,
    });
    const profile = {
      nodes: [
        { id: 1, callFrame: frame("(root)", "", -1), children: [2] },
        { id: 2, callFrame: frame("", "file:///project/src/a.ts", 4), children: [3] },
        { id: 3, callFrame: frame("hash", "", -1) },
      ],
      samples: [3, 2, 3],
      timeDeltas: [10, 5, 20],
    };
    const stacks = stacksOfCpuProfile(JSON.stringify(profile), "/project");
    expect([...stacks.weights]).toEqual([
      ["(root);(anonymous) src/a.ts:5;hash", 30],
      ["(root);(anonymous) src/a.ts:5", 5],
    ]);
  });

  test("are read from perf, which has no names for compiled JavaScript and must be told", () => {
    const text = `bun.exe
\t    ffffffff81 tcp_sendmsg+0x12 ([kernel.kallsyms])
\t    7ff642cb03 [unknown] (/tmp/perf-12.map)
\t       183cff [unknown] (/opt/bun.exe)

bun.exe
\t       183cff [unknown] (/opt/bun.exe)
`;
    expect([...stacksOfPerfScript(text).weights]).toEqual([
      ["[bun.exe];[JavaScript];tcp_sendmsg", 1],
      ["[bun.exe]", 1],
    ]);
    const nameAt = (address: number) => (address === 0x7ff642cb03 ? "writeHead" : undefined);
    expect([...stacksOfPerfScript(text, nameAt).weights.keys()]).toEqual([
      "[bun.exe];writeHead;tcp_sendmsg",
      "[bun.exe]",
    ]);
  });
});

describe("the flame graph", () => {
  const svg = drawFlameGraph(
    stacksOf([
      [["<main> & co", "b"], 1],
      [["<main> & co"], 1],
    ]),
    {
      title: "a hit",
      describe: (share) => `${share * 10} µs`,
    },
  );

  test("is as wide as its weight, and says what each frame costs", () => {
    const widths = [
      ...svg.matchAll(/<title>(.*?)<\/title><rect x="[\d.]+" y="\d+" width="([\d.]+)"/g),
    ];
    expect(widths.map(([, title, width]) => [title, Number(width)])).toEqual([
      ["&lt;main> &amp; co: 10 µs, 100.0 %", 1184],
      ["b: 5 µs, 50.0 %", 592],
    ]);
  });

  test("is well-formed whatever functions are called", () => {
    expect(svg).not.toContain("<main>");
    expect(svg.match(/<g>/g)).toHaveLength(2);
  });
});
