/**
 * What a kill -9 leaves of a gateway: the store and the notes on disk. A process that was killed
 * goes on running in the simulation, since its promises cannot be taken back, but nothing it
 * does reaches the disk any more.
 */

import type { ByteSource } from "../../../src/base/byte-source.ts";
import { GatewayError } from "../../../src/base/errors.ts";
import type { LeftNote, WriteNotes } from "../../../src/cache/cache.ts";
import type { WriteTargets } from "../../../src/cache/write-targets.ts";
import type { Fill, Storage } from "../../../src/storage/storage.ts";
import type { UpstreamTransport } from "../../../src/upstream/transport.ts";

/** Whether a process still runs. */
export interface Life {
  isOver: boolean;
}

/** `store` as a process has it that may be killed. */
export function mortalStorage(store: Storage, life: Life): Storage {
  const mortalFill = (fill: Fill): Fill => ({
    get isBroken() {
      return life.isOver || fill.isBroken;
    },
    write: (offset, chunk) => (life.isOver ? undefined : fill.write(offset, chunk)),
    readableFrom: (start) => fill.readableFrom(start),
    readBack: (start, limitBytes) => fill.readBack(start, limitBytes),
    isDoneWith: (start, end) => fill.isDoneWith(start, end),
    async commit(stillPermitted) {
      if (!life.isOver) return fill.commit(stillPermitted);
      fill.abandon();
      return { kind: "failed", reason: "killed" };
    },
    abandon: () => fill.abandon(),
    release: () => fill.release(),
  });
  return {
    lookup: (id) => (life.isOver ? undefined : store.lookup(id)),
    read: (object, range) => (life.isOver ? undefined : store.read(object, range)),
    missing: (object, range) => store.missing(object, range),
    touch: (object) => store.touch(object),
    beginFill(request) {
      if (life.isOver) return { refused: "closing" };
      const fill = store.beginFill(request);
      return "refused" in fill ? fill : mortalFill(fill);
    },
    refresh: (object, news) => (life.isOver ? undefined : store.refresh(object, news)),
    remove: (ids) => (life.isOver ? 0 : store.remove(ids)),
    removePrefix: (bucket, prefix) => (life.isOver ? 0 : store.removePrefix(bucket, prefix)),
    list: (bucket, prefix) => store.list(bucket, prefix),
    stats: () => store.stats(),
    close: () => store.close(),
  };
}

/**
 * `transport` as a process has it that may be killed: what it had sent goes on its way, what it
 * was still sending breaks.
 */
export function mortalTransport(transport: UpstreamTransport, life: Life): UpstreamTransport {
  const ensureAlive = () => {
    if (life.isOver) throw new GatewayError("upstream_reset", "killed");
  };
  return {
    async send(request) {
      ensureAlive();
      const { body } = request;
      if (body === null) return transport.send(request);
      const mortalBody: ByteSource = {
        async read() {
          ensureAlive();
          const chunk = await body.read();
          ensureAlive();
          return chunk;
        },
        close: () => body.close(),
      };
      return transport.send({ ...request, body: mortalBody });
    },
    close: () => transport.close(),
  };
}

/** The folder of notes: one for all processes that run on it, one after the other. */
export class NotesFolder {
  readonly #notes = new Map<number, WriteTargets>();
  #count = 0;

  get size(): number {
    return this.#notes.size;
  }

  open(life: Life): WriteNotes {
    const erase = (number: number) => {
      if (!life.isOver) this.#notes.delete(number);
    };
    const left = [...this.#notes].map(([number, targets]): LeftNote => ({
      targets,
      erase: () => erase(number),
    }));
    return {
      left,
      write: (targets) => {
        this.#count += 1;
        const number = this.#count;
        if (!life.isOver) this.#notes.set(number, targets);
        return { erase: () => erase(number) };
      },
      cleared: Promise.resolve(),
      close: () => undefined,
    };
  }
}
