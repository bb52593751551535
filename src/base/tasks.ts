/**
 * `Tasks`: the background work of one owner. Every task has a name, gets the
 * signal that ends it, has its failure reported, and is awaited on stop, so that
 * nothing runs on after its owner is gone and no rejection goes unseen.
 */

export interface TasksOptions {
  /** Told of every task that failed for another reason than being stopped. Must not throw. */
  readonly onFailure: (name: string, error: unknown) => void;
}

export class Tasks {
  readonly #onFailure: (name: string, error: unknown) => void;
  readonly #controller = new AbortController();
  readonly #running = new Map<Promise<void>, string>();

  constructor(options: TasksOptions) {
    this.#onFailure = options.onFailure;
  }

  /** Aborts when `stop` is called. */
  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** Names of what runs right now, in the order it was started. */
  get running(): readonly string[] {
    return [...this.#running.values()];
  }

  /**
   * Starts `run` and keeps it until it settles. After `stop` nothing starts any
   * more: late work of a stopping owner is dropped, not an error.
   */
  spawn(name: string, run: (signal: AbortSignal) => Promise<void>): void {
    if (this.signal.aborted) return;
    const task = this.#guard(name, run).finally(() => this.#running.delete(task));
    this.#running.set(task, name);
  }

  /** Aborts the signal and resolves when every task has settled. Safe to call twice. */
  async stop(): Promise<void> {
    this.#controller.abort(new Error("stopped"));
    while (this.#running.size > 0) await Promise.all(this.#running.keys());
  }

  async #guard(name: string, run: (signal: AbortSignal) => Promise<void>): Promise<void> {
    try {
      await run(this.signal);
    } catch (error) {
      // A task that ends because it was told to usually rejects with our reason.
      if (error !== this.signal.reason || !this.signal.aborted) this.#onFailure(name, error);
    }
  }
}
