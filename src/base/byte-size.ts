/**
 * Sizes in bytes as people write them: `4096`, `100MiB`, `1.5 GB`.
 *
 * `KiB` counts in 1024s and `KB` in 1000s, as IEC 80000-13 and SI say. A bare `K` or
 * `M` is refused, because half of all programs mean the one and half the other.
 */

const UNITS = {
  b: 1,
  kb: 1e3,
  mb: 1e6,
  gb: 1e9,
  tb: 1e12,
  kib: 2 ** 10,
  mib: 2 ** 20,
  gib: 2 ** 30,
  tib: 2 ** 40,
} as const;

const SIZE = /^([+-]?\d+(?:\.\d+)?)\s*([a-z]*)$/i;

/**
 * Bytes of a written size, or undefined when it is not one. The result is a whole
 * number below 2^53 (fractions of a byte are refused); a leading `-` is understood,
 * since some options give a meaning to negative values.
 */
export function parseByteSize(text: string): number | undefined {
  const match = SIZE.exec(text.trim());
  if (match === null) return undefined;
  const [, digits = "", unit = ""] = match;
  const factor = unit === "" ? 1 : UNITS[unit.toLowerCase() as keyof typeof UNITS];
  if (factor === undefined) return undefined;
  const exactBytes = Number(digits) * factor;
  const sizeBytes = Math.round(exactBytes);
  // 1.1 GB is 1100000000.0000002 in binary floating point, and meant to be whole.
  if (Math.abs(exactBytes - sizeBytes) > 1e-3) return undefined;
  return Number.isSafeInteger(sizeBytes) ? sizeBytes : undefined;
}

const BINARY = [
  ["TiB", UNITS.tib],
  ["GiB", UNITS.gib],
  ["MiB", UNITS.mib],
  ["KiB", UNITS.kib],
] as const;

/** Exact, in the largest binary unit that divides it: `16MiB`, `65537`. Parses back to the same number. */
export function formatByteSize(sizeBytes: number): string {
  if (sizeBytes !== 0) {
    for (const [unit, factor] of BINARY) {
      if (sizeBytes % factor === 0) return `${sizeBytes / factor}${unit}`;
    }
  }
  return String(sizeBytes);
}

/** Rounded, for people: `1.4 GiB`, `312 B`. */
export function formatByteSizeRounded(sizeBytes: number): string {
  for (const [unit, factor] of BINARY) {
    if (Math.abs(sizeBytes) >= factor) return `${(sizeBytes / factor).toFixed(1)} ${unit}`;
  }
  return `${Math.round(sizeBytes)} B`;
}
