/**
 * Fills: bodies on their way into the store.
 *
 * Two kinds behind the door's `Fill`. A small body waits in memory until it is complete
 * and is then written together with its neighbours; a large one goes to its final place
 * while it arrives, in big writes, with a bounded queue between the network and the
 * disk. Parts come in any order, because a range that was asked for first must not be
 * fetched twice. Checksums are taken on the way: in-order blocks are never read again.
 *
 * A fill knows nothing of the catalog. What publishing means is the engine's business
 * and comes in as its `FillOwner`.
 */

import { BulkGarbage } from "../base/bulk-garbage.ts";
import { CountedBytes } from "../base/counted-bytes.ts";
import { GatewayError } from "../base/errors.ts";
import { IntervalSet } from "../base/interval-set.ts";
import type { ByteRange } from "../http/range.ts";
import type { CommitOutcome, Fill } from "./storage.ts";

/** Bytes held in memory by fills, with the bound they share. */
export class FillMemory {
  readonly limitBytes: number;
  usedBytes = 0;
  /** Of what went to the disk, or into one piece. */
  readonly garbage = new BulkGarbage();

  constructor(limitBytes: number) {
    this.limitBytes = limitBytes;
  }

  get isFull(): boolean {
    return this.usedBytes >= this.limitBytes;
  }
}

/** Where the bytes of a large body go. Positions are offsets in the object. */
export interface BodyTarget {
  /** Undefined when it is done, else a promise of it; throws or rejects when it cannot be. */
  write(chunks: readonly Uint8Array[], position: number): Promise<void> | undefined;
  read(target: Uint8Array, position: number): Promise<number>;
  /** Gives the open files back. */
  close(): void;
}

/** What the engine does with a fill. */
export interface FillOwner<F> {
  /** Publishes; called once, with every byte where it shall be. */
  publish(fill: F, stillPermitted: () => boolean): CommitOutcome | Promise<CommitOutcome>;
  /** Called once, when the fill is released; `isPublished` tells whether its bytes stay. */
  finished(fill: F, isPublished: boolean): void;
  /** The disk failed under the fill. */
  failed(error: unknown): void;
}

/** What both kinds share: which bytes came, and the order of the calls. */
abstract class BaseFill implements Fill {
  /** Length of the whole object. */
  readonly sizeBytes: number;
  /** What came through this fill. */
  protected readonly received = new IntervalSet();
  /** What can be read back: that, and what was stored before. */
  protected readonly readable = new IntervalSet();
  #state: "open" | "committing" | "ended" = "open";
  #isPublished = false;
  #isReleased = false;
  #failure: string | undefined;

  constructor(sizeBytes: number) {
    this.sizeBytes = sizeBytes;
  }

  /** True when every byte of the object came through this fill. */
  get isWhole(): boolean {
    return this.received.size === this.sizeBytes;
  }

  get isBroken(): boolean {
    return this.#failure !== undefined;
  }

  write(offset: number, chunk: Uint8Array): void | Promise<void> {
    if (this.isBroken || this.#state !== "open" || chunk.length === 0) return undefined;
    if (offset < 0 || offset + chunk.length > this.sizeBytes) {
      this.break("more bytes than announced");
      return undefined;
    }
    this.received.add(offset, offset + chunk.length);
    this.readable.add(offset, offset + chunk.length);
    return this.take(offset, chunk);
  }

  readableFrom(start: number): number {
    return this.readable.endOfRun(start) - start;
  }

  async commit(stillPermitted: () => boolean): Promise<CommitOutcome> {
    if (this.#state !== "open") {
      return { kind: "failed", reason: this.#failure ?? "committed twice" };
    }
    this.#state = "committing";
    const outcome = await this.#publish(stillPermitted);
    this.#isPublished = outcome.kind === "committed";
    this.#state = "ended";
    if (this.#isReleased) this.finish(this.#isPublished);
    return outcome;
  }

  abandon(): void {
    this.break("abandoned");
    if (this.#state === "open") this.#state = "ended";
  }

  release(): void {
    if (this.#isReleased) return;
    this.#isReleased = true;
    // A commit that still runs needs the bytes; it finishes the fill when it is through.
    if (this.#state === "committing") return;
    this.abandon();
    this.finish(this.#isPublished);
  }

  /** Stops taking bytes; what was written stays readable. The first reason counts. */
  break(reason: string): void {
    this.#failure ??= reason;
    this.wake();
  }

  async #publish(stillPermitted: () => boolean): Promise<CommitOutcome> {
    const settling = this.isBroken ? undefined : this.settle();
    // No turn of the event loop in between when nothing has to be waited for: a small
    // object is visible as soon as commit was called.
    if (settling !== undefined) await settling;
    if (this.#failure !== undefined) return { kind: "failed", reason: this.#failure };
    return this.publish(stillPermitted);
  }

  abstract readBack(start: number, limitBytes: number): Promise<Uint8Array>;
  abstract isDoneWith(start: number, end: number): boolean;
  protected abstract take(offset: number, chunk: Uint8Array): void | Promise<void>;
  /** Waits until every byte is where it shall be; undefined when nothing is to be waited for. */
  protected abstract settle(): Promise<void> | undefined;
  protected abstract publish(stillPermitted: () => boolean): CommitOutcome | Promise<CommitOutcome>;
  /** Frees what the fill holds; called once, after which nothing is read back. */
  protected abstract finish(isPublished: boolean): void;
  /** Lets those go on who wait for the disk. */
  protected abstract wake(): void;
}

/** Bytes in memory that follow each other. */
class Run {
  readonly start: number;
  readonly chunks: Uint8Array[] = [];
  sizeBytes = 0;

  constructor(start: number) {
    this.start = start;
  }

  get end(): number {
    return this.start + this.sizeBytes;
  }

  push(chunk: Uint8Array): void {
    this.chunks.push(chunk);
    this.sizeBytes += chunk.length;
  }

  /** The chunk that holds the byte at `offset`, from there on; undefined when none does. */
  from(offset: number): Uint8Array | undefined {
    if (offset < this.start || offset >= this.end) return undefined;
    let chunkStart = this.start;
    for (const chunk of this.chunks) {
      if (offset < chunkStart + chunk.length) return chunk.subarray(offset - chunkStart);
      chunkStart += chunk.length;
    }
    return undefined;
  }
}

/** Adds to the run that ends at `offset`, or starts one. */
function pushTo(runs: Run[], offset: number, chunk: Uint8Array): void {
  let run = runs.find((candidate) => candidate.end === offset);
  if (run === undefined) {
    run = new Run(offset);
    runs.push(run);
  }
  run.push(chunk);
}

function findIn(runs: readonly Run[], start: number, limitBytes: number): Uint8Array | undefined {
  for (const run of runs) {
    const bytes = run.from(start);
    if (bytes !== undefined) return bytes.subarray(0, limitBytes);
  }
  return undefined;
}

/**
 * A body small enough to wait in memory until it is complete. It is put together where it stays, so
 * that the chunks it came in are done with at once.
 */
export class MemoryFill extends BaseFill {
  readonly #memory: FillMemory;
  readonly #owner: FillOwner<MemoryFill>;
  readonly body: CountedBytes;

  constructor(sizeBytes: number, memory: FillMemory, owner: FillOwner<MemoryFill>) {
    super(sizeBytes);
    this.#memory = memory;
    this.#owner = owner;
    this.body = new CountedBytes(Buffer.allocUnsafeSlow(sizeBytes));
  }

  override async readBack(start: number, limitBytes: number): Promise<Uint8Array> {
    const end = Math.min(start + limitBytes, this.received.endOfRun(start));
    return end > start ? this.body.bytes.slice(start, end) : notThere(start);
  }

  override isDoneWith(start: number, end: number): boolean {
    return this.received.covers(start, end);
  }

  protected override take(offset: number, chunk: Uint8Array): void {
    this.body.bytes.set(chunk, offset);
    this.#memory.usedBytes += chunk.length;
  }

  protected override settle(): undefined {
    if (!this.isWhole) this.break(`${this.received.size} bytes instead of ${this.sizeBytes}`);
    return undefined;
  }

  protected override publish(
    stillPermitted: () => boolean,
  ): CommitOutcome | Promise<CommitOutcome> {
    return this.#owner.publish(this, stillPermitted);
  }

  protected override finish(isPublished: boolean): void {
    this.#memory.usedBytes -= this.received.size;
    this.#memory.garbage.passed(this.received.size);
    this.body.release();
    this.#owner.finished(this, isPublished);
  }

  protected override wake(): void {
    // Nobody ever waits for memory.
  }
}

/** Bytes are handed to the disk in pieces of at least this size. */
const WRITE_BYTES = 128 * 1024;
/** `write` asks its caller to wait when more than this is queued for the disk. */
const QUEUE_BYTES = 4 * 1024 * 1024;
/** One `readBack` from disk returns at most this much. */
const READ_BACK_BYTES = 256 * 1024;

export interface StreamFillOptions {
  readonly sizeBytes: number;
  readonly blockBytes: number;
  /** True when a fill with gaps may be published: whole blocks then count. */
  readonly mayHaveGaps: boolean;
  readonly target: BodyTarget;
  readonly memory: FillMemory;
  /** What the entry this fill completes holds already: read back like what the fill brings. */
  readonly stored?: StoredParts;
}

/** Parts of a body that were stored before. */
export interface StoredParts {
  readonly ranges: readonly ByteRange[];
  /** At most 256 KiB, compared with their checksums. Rejects with `corrupt_entry` or `storage_io`. */
  read(range: ByteRange): Promise<Uint8Array>;
}

/** A body that is written to its final place while it arrives. */
export class StreamFill extends BaseFill {
  readonly #options: StreamFillOptions;
  readonly #owner: FillOwner<StreamFill>;
  readonly #crcs: BlockChecksums;
  readonly #onDisk = new IntervalSet();
  readonly #stored = new IntervalSet();
  /** Not on disk yet, in order of arrival. */
  #waiting: Run[] = [];
  #waitingBytes = 0;
  #writing: Run | undefined;
  #isDraining = false;
  #sleepers: (() => void)[] = [];

  constructor(options: StreamFillOptions, owner: FillOwner<StreamFill>) {
    super(options.sizeBytes);
    this.#options = options;
    this.#owner = owner;
    this.#crcs = new BlockChecksums(options.sizeBytes, options.blockBytes);
    for (const { start, end } of options.stored?.ranges ?? []) {
      this.#stored.add(start, end);
      this.readable.add(start, end);
    }
  }

  /** CRC-32 of every block this fill brought completely; final once publishing begins. */
  get blockCrcs(): ReadonlyMap<number, number> {
    return this.#crcs.complete;
  }

  override async readBack(start: number, limitBytes: number): Promise<Uint8Array> {
    const { stored } = this.#options;
    const storedEnd = this.#stored.endOfRun(start);
    if (stored !== undefined && storedEnd > start) {
      return stored.read({
        start,
        end: Math.min(storedEnd, start + limitBytes, start + READ_BACK_BYTES),
      });
    }
    const onDiskEnd = this.#onDisk.endOfRun(start);
    if (onDiskEnd === start) {
      const runs = this.#writing === undefined ? this.#waiting : [this.#writing, ...this.#waiting];
      // The memory of chunks is given back as soon as they are on disk.
      return findIn(runs, start, Math.min(limitBytes, READ_BACK_BYTES))?.slice() ?? notThere(start);
    }
    const bytes = new Uint8Array(Math.min(limitBytes, READ_BACK_BYTES, onDiskEnd - start));
    const count = await this.#options.target.read(bytes, start);
    return count === bytes.length ? bytes : notThere(start);
  }

  override isDoneWith(start: number, end: number): boolean {
    return this.#onDisk.covers(start, end);
  }

  protected override take(offset: number, chunk: Uint8Array): void | Promise<void> {
    this.#crcs.add(offset, chunk);
    pushTo(this.#waiting, offset, chunk);
    this.#waitingBytes += chunk.length;
    this.#options.memory.usedBytes += chunk.length;
    this.#write();
    const behindBytes = this.#waitingBytes + (this.#writing?.sizeBytes ?? 0);
    if (behindBytes <= QUEUE_BYTES) return undefined;
    return new Promise((resolve) => this.#sleepers.push(resolve));
  }

  protected override async settle(): Promise<void> {
    if (!this.isWhole && !this.#options.mayHaveGaps) {
      this.break(`${this.received.size} bytes instead of ${this.sizeBytes}`);
      return;
    }
    this.#isDraining = true;
    this.#write();
    while (this.#writing !== undefined && !this.isBroken) {
      await new Promise<void>((resolve) => this.#sleepers.push(resolve));
    }
    if (this.isBroken) return;
    try {
      await this.#crcs.finish(this.received, this.#options.target);
    } catch (error) {
      this.break("the written bytes could not be read back");
      this.#owner.failed(error);
    }
  }

  protected override publish(
    stillPermitted: () => boolean,
  ): CommitOutcome | Promise<CommitOutcome> {
    return this.#owner.publish(this, stillPermitted);
  }

  protected override finish(isPublished: boolean): void {
    this.#options.memory.usedBytes -= this.#waitingBytes;
    this.#waiting = [];
    this.#waitingBytes = 0;
    const end = (): void => {
      this.#options.target.close();
      this.#owner.finished(this, isPublished);
    };
    // The kernel may still be reading from our chunks and writing to the file.
    if (this.#writing === undefined) end();
    else this.#sleepers.push(end);
  }

  protected override wake(): void {
    // Those who wait for a write in flight are woken by its end.
    if (this.#writing === undefined) this.#wakeAll();
  }

  #write(): void {
    while (this.#writing === undefined && !this.isBroken) {
      const run = this.#takeWaiting();
      if (run === undefined) return;
      this.#writing = run;
      let written: Promise<void> | undefined;
      try {
        written = this.#options.target.write(run.chunks, run.start);
      } catch (error) {
        this.#couldNotWrite(run, error);
        return;
      }
      if (written === undefined) this.#wrote(run);
      else {
        written.then(
          () => {
            this.#wrote(run);
            this.#write();
            this.#wakeAll();
          },
          (error: unknown) => this.#couldNotWrite(run, error),
        );
      }
    }
  }

  /** The next bytes that are worth a write, taken out of those that wait for one. */
  #takeWaiting(): Run | undefined {
    let index = this.#waiting.findIndex((run) => this.#isDraining || run.sizeBytes >= WRITE_BYTES);
    // Many short runs together must not hold their writers up for ever.
    if (index === -1 && this.#waitingBytes > QUEUE_BYTES / 2) index = 0;
    const run = this.#waiting[index];
    if (run === undefined) return undefined;
    this.#waiting.splice(index, 1);
    this.#waitingBytes -= run.sizeBytes;
    return run;
  }

  #wrote(run: Run): void {
    this.#writing = undefined;
    this.#onDisk.add(run.start, run.end);
    this.#options.memory.usedBytes -= run.sizeBytes;
    this.#options.memory.garbage.passed(run.sizeBytes);
  }

  #couldNotWrite(run: Run, error: unknown): void {
    // The bytes stay in memory: whoever reads back still gets them.
    this.#waiting.unshift(run);
    this.#waitingBytes += run.sizeBytes;
    this.#writing = undefined;
    this.break("the disk refused the bytes");
    this.#owner.failed(error);
  }

  #wakeAll(): void {
    const sleepers = this.#sleepers;
    this.#sleepers = [];
    for (const wake of sleepers) wake();
  }
}

/**
 * CRC-32 per block of bytes that come in pieces. Pieces in order are summed as they
 * pass; a block whose pieces came out of order is read back once, at the end.
 */
class BlockChecksums {
  readonly complete = new Map<number, number>();
  readonly #sizeBytes: number;
  readonly #blockBytes: number;
  /** Blocks begun: the sum up to `bytes`. */
  readonly #open = new Map<number, { crc: number; bytes: number }>();
  readonly #scattered = new Set<number>();

  constructor(sizeBytes: number, blockBytes: number) {
    this.#sizeBytes = sizeBytes;
    this.#blockBytes = blockBytes;
  }

  add(offset: number, chunk: Uint8Array): void {
    let at = 0;
    while (at < chunk.length) {
      const block = Math.floor((offset + at) / this.#blockBytes);
      const inBlock = offset + at - block * this.#blockBytes;
      const length = Math.min(chunk.length - at, this.#blockBytes - inBlock);
      this.#addToBlock(block, inBlock, chunk.subarray(at, at + length));
      at += length;
    }
  }

  /** Completes the blocks that came out of order and lie completely within `received`. */
  async finish(received: IntervalSet, source: BodyTarget): Promise<void> {
    for (const block of this.#scattered) {
      const start = block * this.#blockBytes;
      const length = this.#lengthOf(block);
      if (!received.covers(start, start + length)) continue;
      const bytes = new Uint8Array(length);
      if ((await source.read(bytes, start)) !== length) notThere(start);
      this.complete.set(block, Bun.hash.crc32(bytes));
    }
    this.#scattered.clear();
  }

  #addToBlock(block: number, inBlock: number, bytes: Uint8Array): void {
    if (this.#scattered.has(block)) return;
    const begun = this.#open.get(block);
    if (begun === undefined && bytes.length === this.#lengthOf(block)) {
      this.complete.set(block, Bun.hash.crc32(bytes)); // all of it in one piece: the usual case
      return;
    }
    const open = begun ?? { crc: 0, bytes: 0 };
    if (open.bytes !== inBlock) {
      this.#open.delete(block);
      this.#scattered.add(block);
      return;
    }
    open.crc = Bun.hash.crc32(bytes, open.crc);
    open.bytes += bytes.length;
    if (open.bytes === this.#lengthOf(block)) {
      this.#open.delete(block);
      this.complete.set(block, open.crc);
    } else {
      this.#open.set(block, open);
    }
  }

  #lengthOf(block: number): number {
    return Math.min(this.#blockBytes, this.#sizeBytes - block * this.#blockBytes);
  }
}

function notThere(start: number): never {
  throw new GatewayError("storage_io", `the bytes at ${start} of a fill cannot be read back`);
}
