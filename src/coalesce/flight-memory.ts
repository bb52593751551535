/**
 * The memory of all flights together. Each flight may hold a window of recent
 * chunks; when the sum reaches the limit, a flight keeps only `floorBytes` until
 * others have let go, so many slow readers cost speed and never memory.
 */
export class FlightMemory {
  readonly #limitBytes: number;
  readonly #floorBytes: number;
  #usedBytes = 0;

  /** `floorBytes` is what every flight may hold whatever the others do. */
  constructor(limitBytes: number, floorBytes = 512 * 1024) {
    this.#limitBytes = limitBytes;
    this.#floorBytes = floorBytes;
  }

  /** Bytes held in windows now, for the gauge. */
  get usedBytes(): number {
    return this.#usedBytes;
  }

  /** Whether a flight that holds `heldBytes` of at most `windowBytes` may take one more chunk. */
  mayGrow(heldBytes: number, windowBytes: number): boolean {
    if (heldBytes < Math.min(this.#floorBytes, windowBytes)) return true;
    return heldBytes < windowBytes && this.#usedBytes < this.#limitBytes;
  }

  take(sizeBytes: number): void {
    this.#usedBytes += sizeBytes;
  }

  give(sizeBytes: number): void {
    this.#usedBytes -= sizeBytes;
  }
}
