/** Chance, as a seam: seeded in tests, so that a failing run can be repeated. */

export interface Random {
  /** Uniform in [0, 1). */
  float(): number;
  /** Uniform integer in [0, bound). */
  below(bound: number): number;
  /** `count` random bytes; the system source is fit for keys and nonces. */
  bytes(count: number): Uint8Array;
}

export const systemRandom: Random = {
  float: () => Math.random(),
  below: (bound) => Math.floor(Math.random() * bound),
  bytes: (count) => crypto.getRandomValues(new Uint8Array(count)),
};

/** A small seeded generator (mulberry32): repeatable, never for secrets. */
export function seededRandom(seed: number): Random {
  let state = seed >>> 0;
  const next = (): number => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = state;
    mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
  return {
    float: next,
    below: (bound) => Math.floor(next() * bound),
    bytes: (count) => Uint8Array.from({ length: count }, () => Math.floor(next() * 256)),
  };
}
