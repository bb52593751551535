/**
 * Durations in the syntax of Go's `time.ParseDuration`, which the original's
 * configuration files use: `60m`, `1h30m`, `1.5s`, `500ms`. A number needs a unit;
 * only `0` may stand alone.
 */

const UNIT_MS = {
  ns: 1e-6,
  us: 1e-3,
  µs: 1e-3,
  μs: 1e-3,
  ms: 1,
  s: 1_000,
  m: 60_000,
  h: 3_600_000,
} as const;

const WHOLE = /^([+-]?)((?:\d+(?:\.\d*)?|\.\d+)(?:ns|us|µs|μs|ms|s|m|h))+$/;
const PART = /(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h)/g;

/** Milliseconds of a written duration, or undefined when it is not one. */
export function parseDuration(text: string): number | undefined {
  const trimmed = text.trim();
  if (/^[+-]?0$/.test(trimmed)) return 0;
  const match = WHOLE.exec(trimmed);
  if (match === null) return undefined;
  let ms = 0;
  for (const [, digits = "", unit = ""] of trimmed.matchAll(PART)) {
    ms += Number(digits) * UNIT_MS[unit as keyof typeof UNIT_MS];
  }
  if (!Number.isFinite(ms)) return undefined;
  return match[1] === "-" ? -ms : ms;
}

const STEPS = [
  ["h", UNIT_MS.h],
  ["m", UNIT_MS.m],
  ["s", UNIT_MS.s],
  ["ms", UNIT_MS.ms],
] as const;

/** The shortest exact spelling, to the microsecond: `1h30m`, `60m` is `1h`, `1.5ms`. */
export function formatDuration(ms: number): string {
  if (ms === 0) return "0s";
  let text = ms < 0 ? "-" : "";
  let restMs = Math.round(Math.abs(ms) * 1e3) / 1e3;
  for (const [unit, stepMs] of STEPS) {
    const isLast = unit === "ms";
    const count = isLast ? Math.round(restMs * 1e3) / 1e3 : Math.floor(restMs / stepMs);
    if (count === 0) continue;
    text += `${count}${unit}`;
    restMs -= count * stepMs;
  }
  return text;
}
