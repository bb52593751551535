/**
 * What the store takes on the volume, and how much more it may take.
 *
 * Physical bytes: whole segments, blocks of files, the catalog with its logs, and files
 * that are unlinked but not gone. Everything that grows asks here first, so the cap holds
 * at any speed instead of being restored by a job that comes too late.
 */

export interface SpaceOptions {
  readonly capacityBytes: number;
  /** Kept free under the cap for catalog logs, which grow between two looks at them. */
  readonly logReserveBytes: number;
  /** Bytes of committed bodies in the file tier. */
  readonly fileBytes: () => number;
}

export class Space {
  readonly #options: SpaceOptions;
  /** Segment files, at their full length while they are written. */
  segmentBytes = 0;
  /** Of these, what is not on the volume yet. */
  promisedBytes = 0;
  /** Written by fills of the file tier that are not published yet. */
  growingBytes = 0;
  /** Of unlinked files that may not be gone yet. */
  unlinkingBytes = 0;
  /** Catalog files as last measured, less pages in them that are free. */
  catalogBytes = 0;
  /** Control database, lock, ballast. */
  fixedBytes = 0;
  /** Not for what is new: room to move pinned bodies into, without which nothing could go. */
  keptReserveBytes = 0;
  /** What the volume allows in all; less than the cap when others fill it. */
  volumeLimitBytes = Number.POSITIVE_INFINITY;

  constructor(options: SpaceOptions) {
    this.#options = options;
  }

  get capacityBytes(): number {
    return this.#options.capacityBytes;
  }

  /** Bytes on the volume now. */
  get physicalBytes(): number {
    return (
      this.segmentBytes +
      this.#options.fileBytes() +
      this.growingBytes +
      this.unlinkingBytes +
      this.catalogBytes +
      this.fixedBytes
    );
  }

  /** Bytes that may be added now; negative when something has to go. */
  get freeBytes(): number {
    return this.#limitBytes - this.physicalBytes;
  }

  /** `freeBytes` once everything unlinked is gone. */
  get freeSoonBytes(): number {
    return this.freeBytes + this.unlinkingBytes;
  }

  get #limitBytes(): number {
    const { capacityBytes, logReserveBytes } = this.#options;
    return Math.min(capacityBytes, this.volumeLimitBytes) - logReserveBytes;
  }
}
