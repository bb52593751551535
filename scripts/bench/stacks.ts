/**
 * Sampled stacks: read from what Bun's sampler and perf write, weighed, and summed up per function.
 *
 * A stack is its frames from the outside in, with a weight; equal stacks are one. That is the "folded"
 * form flame graphs are drawn from.
 */

export interface Stacks {
  /** Frames joined by `;`, outermost first, to weight in samples or microseconds. */
  readonly weights: ReadonlyMap<string, number>;
  readonly total: number;
}

export function stacksOf(
  entries: Iterable<readonly [frames: readonly string[], weight: number]>,
): Stacks {
  const weights = new Map<string, number>();
  let total = 0;
  for (const [frames, weight] of entries) {
    const name = frames.map((frame) => frame.replaceAll(";", ":")).join(";");
    weights.set(name, (weights.get(name) ?? 0) + weight);
    total += weight;
  }
  return { weights, total };
}

/** What lies below (and includes) the first frame `matches` accepts; everything outside is dropped. */
export function below(stacks: Stacks, matches: (frame: string) => boolean): Stacks {
  function* inside(): Iterable<readonly [readonly string[], number]> {
    for (const [name, weight] of stacks.weights) {
      const frames = name.split(";");
      const from = frames.findIndex(matches);
      if (from !== -1) yield [frames.slice(from), weight];
    }
  }
  return stacksOf(inside());
}

export interface FunctionShare {
  readonly name: string;
  /** Share of the whole spent in the function itself, and in it or anything it called. */
  readonly self: number;
  readonly inclusive: number;
}

/** Functions by their own share, largest first. */
export function shares(stacks: Stacks): FunctionShare[] {
  const self = new Map<string, number>();
  const inclusive = new Map<string, number>();
  for (const [name, weight] of stacks.weights) {
    const frames = name.split(";");
    const last = frames.at(-1) ?? "";
    self.set(last, (self.get(last) ?? 0) + weight);
    for (const frame of new Set(frames)) inclusive.set(frame, (inclusive.get(frame) ?? 0) + weight);
  }
  return [...inclusive]
    .map(([name, weight]) => ({
      name,
      self: (self.get(name) ?? 0) / stacks.total,
      inclusive: weight / stacks.total,
    }))
    .toSorted((left, right) => right.self - left.self);
}

/** The parts of a V8 .cpuprofile that matter here. */
interface CpuProfile {
  readonly nodes: readonly {
    readonly id: number;
    readonly callFrame: {
      readonly functionName: string;
      readonly url: string;
      /** From 0. */
      readonly lineNumber: number;
    };
    readonly children?: readonly number[];
  }[];
  readonly samples: readonly number[];
  readonly timeDeltas: readonly number[];
}

/**
 * The stacks of a .cpuprofile, weighed in microseconds. Frames are `function file:line` with the file
 * relative to `root`; those of the engine are the bare name.
 */
export function stacksOfCpuProfile(text: string, root: string): Stacks {
  const profile = JSON.parse(text) as CpuProfile;
  const parents = new Map<number, number>();
  const frames = new Map<number, string>();
  for (const { id, callFrame, children } of profile.nodes) {
    frames.set(id, frameName(callFrame, root));
    for (const child of children ?? []) parents.set(child, id);
  }
  const known = new Map<number, string[]>();
  const stackOf = (id: number): string[] => {
    const present = known.get(id);
    if (present !== undefined) return present;
    const parent = parents.get(id);
    const stack = [...(parent === undefined ? [] : stackOf(parent)), frames.get(id) ?? "?"];
    known.set(id, stack);
    return stack;
  };
  return stacksOf(
    profile.samples.map((id, index) => [stackOf(id), profile.timeDeltas[index] ?? 0] as const),
  );
}

function frameName(
  { functionName, url, lineNumber }: CpuProfile["nodes"][number]["callFrame"],
  root: string,
): string {
  const name = functionName === "" ? "(anonymous)" : functionName;
  if (url === "" || lineNumber < 0) return name;
  const path = url.replace(/^file:\/\//, "");
  const file = path.startsWith(root)
    ? path.slice(root.length + 1)
    : path.replace(/^.*node_modules\//, "");
  return `${name} ${file}:${lineNumber + 1}`;
}

/**
 * The stacks in the output of `perf script -F comm,ip,sym,dso`, one per sample.
 *
 * @param nameAt names code that perf has no symbol for
 */
export function stacksOfPerfScript(
  text: string,
  nameAt: (address: number) => string | undefined = () => undefined,
): Stacks {
  function* samples(): Iterable<readonly [readonly string[], number]> {
    for (const block of text.split("\n\n")) {
      const [, ...lines] = block.trim().split("\n");
      const frames = lines.map((line) => {
        const match = /^\s*([\da-f]+)\s+(.*?)(?:\+0x[\da-f]+)?\s+\(([^)]*)\)\s*$/.exec(line);
        const [, address = "", symbol = "[unknown]", object = ""] = match ?? [];
        if (symbol !== "[unknown]") return symbol;
        return nameAt(parseInt(address, 16)) ?? nameOfObject(object);
      });
      if (frames.length > 0) yield [frames.toReversed(), 1];
    }
  }
  return stacksOf(samples());
}

/** Stands for code without symbols: what the JavaScript engine compiled, or a stripped program. */
function nameOfObject(object: string): string {
  const file = object.replace(/^.*\//, "");
  return /^perf-\d+\.map$/.test(file) || file === "//anon" ? "[JavaScript]" : `[${file}]`;
}
