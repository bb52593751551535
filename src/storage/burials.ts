/**
 * Removals the disk refused. An invalidated entry must not be served again whatever the
 * disk does, so what could not be deleted is remembered here, hidden from lookups, and
 * deleted as soon as the disk works. Empty almost always, and cheap to ask then.
 *
 * A burial does not survive the process; the entry's freshness bounds that case.
 */

import type { ObjectId } from "../s3/object-id.ts";

export interface Burial {
  readonly bucket: string;
  readonly key: string;
  /** True when everything that begins with `key` is meant. */
  readonly isPrefix: boolean;
  /** Entries stored from this stamp on are newer than the removal. */
  readonly before: number;
}

export class Burials {
  #burials: Burial[] = [];

  get isEmpty(): boolean {
    return this.#burials.length === 0;
  }

  add(burial: Burial): void {
    this.#burials.push(burial);
  }

  hides(id: ObjectId, version: number): boolean {
    if (this.#burials.length === 0) return false;
    return this.#burials.some(
      ({ bucket, key, isPrefix, before }) =>
        version < before &&
        bucket === id.bucket &&
        (isPrefix ? id.key.startsWith(key) : id.key === key),
    );
  }

  /** Everything remembered, which is forgotten: what fails again is added again. */
  take(): readonly Burial[] {
    const taken = this.#burials;
    this.#burials = [];
    return taken;
  }
}
