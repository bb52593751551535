/**
 * The object store of a benchmark: the dev origin behind a port, in a process of its own.
 *
 * Its bucket is publicly readable, so that caches which cannot sign fetch the same objects from the
 * same place. Through TAG every request is signed and checked all the same.
 */

import { join } from "node:path";

import { moveToCore, Program } from "./child.ts";

export interface OriginSettings {
  /** Time added before every answer. */
  readonly latencyMs: number;
  /** Of one reply body; undefined: unlimited. */
  readonly bandwidthBytesPerSecond: number | undefined;
}

/** What was asked of the origin since it started. */
export interface OriginCounts {
  readonly requests: number;
  readonly bodyBytes: number;
}

export interface OriginPlace {
  /** Objects live here. One origin at a time. */
  readonly root: string;
  readonly port: number;
  readonly core: number;
  readonly logPath: string;
}

export class OriginServer {
  readonly #program: Program;
  readonly #place: OriginPlace;
  #onCounts: ((counts: OriginCounts) => void) | undefined;

  private constructor(settings: OriginSettings, place: OriginPlace) {
    this.#place = place;
    const { root, port } = place;
    this.#program = new Program({
      name: "the dev origin",
      command: [
        process.execPath,
        join(import.meta.dir, "origin-process.ts"),
        JSON.stringify({ ...settings, root, port }),
      ],
      core: place.core,
      logPath: place.logPath,
      onMessage: (message) => this.#onCounts?.(message as OriginCounts),
    });
  }

  static async start(settings: OriginSettings, place: OriginPlace): Promise<OriginServer> {
    const server = new OriginServer(settings, place);
    await server.#program.listening(place.port);
    return server;
  }

  get port(): number {
    return this.#place.port;
  }

  get pids(): readonly number[] {
    return this.#program.pids;
  }

  counts(): Promise<OriginCounts> {
    return new Promise((resolve) => {
      this.#onCounts = resolve;
      this.#program.send("counts");
    });
  }

  /** Onto the core of the servers when the origin itself is what is measured, else where it was. */
  moveTo(core: number): void {
    moveToCore(this.#program.pid, core);
  }

  stop(): Promise<void> {
    return this.#program.stop();
  }
}
