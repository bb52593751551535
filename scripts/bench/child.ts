/**
 * Programs the benchmark runs: pinned to a core, their output in a file, ended by us.
 */

import { closeSync, openSync, readFileSync } from "node:fs";
import { createServer } from "node:net";
import type { AddressInfo } from "node:net";

import { processTree } from "./proc.ts";

export interface ProgramOptions {
  /** For messages. */
  readonly name: string;
  readonly command: readonly string[];
  /** The only core it may use. */
  readonly core: number;
  /** Nice value; undefined: `NICE`. */
  readonly nice?: number;
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string>>;
  /** Takes standard output and error. */
  readonly logPath: string;
  readonly onMessage?: (message: unknown) => void;
}

const isRoot = process.getuid?.() === 0;

/** Everything that takes part is a little before what else the machine does. Only root may ask for it. */
export const NICE = isRoot ? -10 : 0;
/** The generator whose latencies count must not wait for others on its core. */
export const NICE_MEASURED = isRoot ? -15 : 0;

const running = new Set<Program>();

/** Ends every program at once, for when the benchmark itself is ended. */
export function killPrograms(): void {
  for (const program of running) program.kill();
}

/** A running program. */
export class Program {
  readonly #options: ProgramOptions;
  readonly #child: Bun.Subprocess<"ignore", number, number>;

  constructor(options: ProgramOptions) {
    this.#options = options;
    const log = openSync(options.logPath, "a");
    const { onMessage } = options;
    this.#child = Bun.spawn(onCore(options), {
      ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
      env: { PATH: process.env["PATH"] ?? "", ...options.env },
      stdin: "ignore",
      stdout: log,
      stderr: log,
      ...(onMessage === undefined ? {} : { ipc: onMessage }),
    });
    closeSync(log);
    running.add(this);
    void this.#child.exited.then(() => running.delete(this));
  }

  get pid(): number {
    return this.#child.pid;
  }

  /** The program and its children. */
  get pids(): readonly number[] {
    return processTree(this.#child.pid);
  }

  send(message: unknown): void {
    this.#child.send(message);
  }

  /** Resolves when something listens on the port. Rejects with the log when the program ends or takes too long. */
  async listening(port: number): Promise<void> {
    const deadlineMs = performance.now() + 20_000;
    while (!(await accepts(port))) {
      if (this.#child.exitCode !== null || performance.now() > deadlineMs) {
        const log = readFileSync(this.#options.logPath, "utf8").slice(-2000);
        throw new Error(`${this.#options.name} does not listen on port ${port}:\n${log}`);
      }
      await Bun.sleep(20);
    }
  }

  /** Ends it and what it started, at the latest by force. */
  async stop(): Promise<void> {
    const { pids } = this;
    this.#child.kill("SIGTERM");
    const hasEnded = await Promise.race([
      this.#child.exited.then(() => true),
      Bun.sleep(5000).then(() => false),
    ]);
    if (hasEnded) return;
    this.kill(pids);
    await this.#child.exited;
  }

  /** Ends it and what it started, now. */
  kill(pids = this.pids): void {
    for (const pid of pids) {
      try {
        process.kill(pid, "SIGKILL");
      } catch {
        // It went by itself.
      }
    }
  }
}

/** The command line that runs a program on one core. `taskset` and `nice` replace themselves by it. */
export function onCore({
  command,
  core,
  nice = NICE,
}: Pick<ProgramOptions, "command" | "core" | "nice">): string[] {
  return ["nice", "-n", String(nice), "taskset", "-c", String(core), ...command];
}

/** Moves a running program, with all its threads, to another core. */
export function moveToCore(pid: number, core: number): void {
  Bun.spawnSync(["taskset", "-acp", String(core), String(pid)], { stdout: "ignore" });
}

/** A port nobody listens on. */
export async function freePort(): Promise<number> {
  const server = createServer();
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const { port } = server.address() as AddressInfo;
      server.close(() => resolve(port));
    });
  });
}

async function accepts(port: number): Promise<boolean> {
  try {
    const socket = await Bun.connect({
      hostname: "127.0.0.1",
      port,
      socket: { data: () => undefined, error: () => undefined },
    });
    socket.end();
    return true;
  } catch {
    return false;
  }
}
