/**
 * How often each object was used lately: two bits' worth of counting in one byte per slot,
 * addressed by hash. A hit is one store to memory and never a write to disk. Two objects
 * in one slot only blur which of them is kept.
 */

const HOTTEST = 3;

export class Heat {
  readonly #slots: Uint8Array;

  /** @param slotCount a power of two; about one per object expected */
  constructor(slotCount: number) {
    this.#slots = new Uint8Array(slotCount);
  }

  /** Notes a use of the object with row id `h`. */
  touch(h: number): void {
    const slot = h % this.#slots.length;
    const heat = this.#slots[slot] ?? 0;
    if (heat < HOTTEST) this.#slots[slot] = heat + 1;
  }

  /** 0 (not used) to 3. */
  of(h: number): number {
    return this.#slots[h % this.#slots.length] ?? 0;
  }

  /** Takes one chance from an object that was spared. */
  cool(h: number): void {
    const slot = h % this.#slots.length;
    const heat = this.#slots[slot] ?? 0;
    if (heat > 0) this.#slots[slot] = heat - 1;
  }
}

/** Slots for a store of `capacityBytes`: one per 32 KiB, between 64 Ki and 16 Mi. */
export function heatSlotsFor(capacityBytes: number): number {
  let slots = 2 ** 16;
  while (slots < 2 ** 24 && slots * 32 * 1024 < capacityBytes) slots *= 2;
  return slots;
}
