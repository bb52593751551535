/**
 * A flame graph as one SVG file: width is time, height is the depth of the stack, and a name appears
 * where it fits (and always as a tooltip). Siblings are in alphabetical order, so that two graphs of the
 * same program look alike and can be compared.
 */

import type { Stacks } from "./stacks.ts";

const WIDTH = 1200;
const ROW = 17;
const MARGIN = 8;
const TITLE = 28;
/** Narrower than half a pixel nothing is drawn. */
const NARROWEST = 0.5;
const CHARACTER = 6.6;

interface Frame {
  weight: number;
  readonly children: Map<string, Frame>;
}

export interface FlameGraphOptions {
  readonly title: string;
  /** What the whole width stands for, to turn weights into text: `(share) => "1.2 µs"`. */
  readonly describe: (share: number) => string;
}

export function drawFlameGraph(stacks: Stacks, { title, describe }: FlameGraphOptions): string {
  const root = treeOf(stacks);
  const depth = depthOf(root, NARROWEST / WIDTH, stacks.total);
  const height = TITLE + depth * ROW + MARGIN;
  const scale = (WIDTH - 2 * MARGIN) / stacks.total;
  const shapes: string[] = [];

  const draw = (name: string, frame: Frame, x: number, level: number): void => {
    const width = frame.weight * scale;
    if (width < NARROWEST) return;
    const y = height - MARGIN - (level + 1) * ROW;
    const share = frame.weight / stacks.total;
    const tooltip = `${name}: ${describe(share)}, ${(share * 100).toFixed(1)} %`;
    const label = name.slice(0, Math.max(0, Math.floor((width - 4) / CHARACTER)));
    shapes.push(
      `<g><title>${escaped(tooltip)}</title>` +
        `<rect x="${x.toFixed(1)}" y="${y}" width="${width.toFixed(1)}" height="${ROW - 1}" fill="${colorOf(name)}" rx="1"/>` +
        (label.length < 3
          ? ""
          : `<text x="${(x + 3).toFixed(1)}" y="${y + 12}">${escaped(label)}</text>`) +
        `</g>`,
    );
    let childX = x;
    for (const [childName, child] of [...frame.children].toSorted(byName)) {
      draw(childName, child, childX, level + 1);
      childX += child.weight * scale;
    }
  };

  let x = MARGIN;
  for (const [name, frame] of [...root.children].toSorted(byName)) {
    draw(name, frame, x, 0);
    x += frame.weight * scale;
  }
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" font-family="monospace" font-size="11">
<rect width="${WIDTH}" height="${height}" fill="#ffffff"/>
<text x="${WIDTH / 2}" y="18" text-anchor="middle" font-size="14">${escaped(title)}</text>
${shapes.join("\n")}
</svg>
`;
}

function treeOf(stacks: Stacks): Frame {
  const root: Frame = { weight: 0, children: new Map() };
  for (const [stack, weight] of stacks.weights) {
    root.weight += weight;
    let frame = root;
    for (const name of stack.split(";")) {
      let child = frame.children.get(name);
      if (child === undefined)
        frame.children.set(name, (child = { weight: 0, children: new Map() }));
      child.weight += weight;
      frame = child;
    }
  }
  return root;
}

/** Levels that have anything wide enough to be seen. */
function depthOf(frame: Frame, narrowestShare: number, total: number): number {
  let deepest = 0;
  for (const child of frame.children.values()) {
    if (child.weight / total < narrowestShare) continue;
    deepest = Math.max(deepest, 1 + depthOf(child, narrowestShare, total));
  }
  return deepest;
}

function byName([left]: readonly [string, Frame], [right]: readonly [string, Frame]): number {
  return left < right ? -1 : Number(left > right);
}

/** One hue per folder of src, so that a module is seen as a patch of colour; grey is not ours. */
function colorOf(name: string): string {
  const module = /\bsrc\/([\w-]+)/.exec(name)?.[1];
  if (module === undefined) return "#d9d9d9";
  let hash = 0;
  for (const character of module) hash = (hash * 31 + (character.codePointAt(0) ?? 0)) % 360;
  return `hsl(${hash} 65% 78%)`;
}

function escaped(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll('"', "&quot;");
}
