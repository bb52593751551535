/**
 * The life of a server process, shared by `tag serve` and `tag dev`: load, start, wait
 * for a signal, drain, stop.
 *
 * Signals: the first SIGTERM or SIGINT drains (readiness flips first, running requests
 * finish within server.drain_timeout), a second one ends at once. SIGHUP loads the
 * configuration again and applies what can change while running; a broken one is
 * reported and the old stays.
 */

import { isatty } from "node:tty";

import { systemClock } from "../base/clock.ts";
import type { Config } from "../config/options.ts";
import { formatProblem } from "../config/problem.ts";
import type { LoadRequest } from "../config/load.ts";
import { missingCredentials } from "../config/validate.ts";
import type { AnyInput } from "./config-flags.ts";
import { loadForCommand, reportProblems } from "./config-flags.ts";
import { EXIT_CODES } from "./exit-codes.ts";
import type { ExitName } from "./exit-codes.ts";
import { startupFailure } from "./startup-failure.ts";

/** What is known once the ports are bound. */
export interface Ready {
  readonly config: Config;
  readonly httpPort: number;
  /** Undefined when the read port is off. */
  readonly readPort: number | undefined;
}

/**
 * Runs a server until it is told to stop; answers the exit of a clean stop or of a
 * refused configuration. Throws a `CliError` when it cannot start.
 */
export async function runServer(
  input: AnyInput,
  request: Partial<LoadRequest>,
  onReady: (ready: Ready) => void,
): Promise<ExitName> {
  const { terminal } = input;
  const loaded = await loadForCommand(input, request);
  if (loaded.kind === "failed") return reportProblems(terminal, loaded.problems);
  const { config, sources, found, warnings } = loaded;
  const missing = missingCredentials(config, sources);
  if (missing !== undefined) return reportProblems(terminal, [...warnings, missing]);

  const [
    { createApp },
    { createLog, parseLogFilter },
    { LineWriter },
    { logFileOf },
    { effectiveOptions },
  ] = await Promise.all([
    import("../app.ts"),
    import("../observability/log.ts"),
    import("../observability/line-writer.ts"),
    import("../observability/log-file.ts"),
    import("../config/describe.ts"),
  ]);
  const file = logFileOf(process.stderr.fd);
  const lines = new LineWriter({
    clock: systemClock,
    write: (text, isUrgent) => {
      if (file === undefined) process.stderr.write(text);
      else file.write(text, isUrgent);
    },
  });
  // Whichever way the process ends, nothing that was logged is lost.
  process.once("exit", () => {
    file?.abandon();
    lines.flush();
  });
  const log = createLog({
    level: config.log.level,
    format: config.log.format,
    clock: systemClock,
    hasColors: isatty(process.stderr.fd),
    write: lines.write,
  });
  for (const warning of warnings) log.warn(formatProblem(warning));
  const origin = found.path === undefined ? "no file" : `${found.path} (${found.because})`;
  // A machine gets every option, a person those that somebody set.
  const options = effectiveOptions(config, sources).filter(
    ({ path }) => config.log.format === "json" || sources.has(path),
  );
  log.info(`configuration: ${origin}`, {
    options: Object.fromEntries(options.map(({ path, value }) => [path, value])),
  });

  // Before the start, which may take a while: a signal in between must not be lost.
  const signals = new Signals();
  const app = await createApp(config, { log }).catch((error: unknown) => {
    throw startupFailure(error, config);
  });
  let ports: Awaited<ReturnType<typeof app.start>>;
  try {
    ports = await app.start();
  } catch (error) {
    await app.stop().catch(() => undefined); // it never ran; the first error says why
    lines.flush();
    throw startupFailure(error, config);
  }
  const protocol = config.server.tlsCertFile === undefined ? "http" : "https";
  log.info("TAG is ready", { addr: config.server.bindIp, ...ports, protocol });
  lines.flush();
  onReady({ config, ...ports });

  signals.onReload(async () => {
    const again = await loadForCommand(input, request);
    if (again.kind === "failed") {
      for (const problem of again.problems) log.error(`not reloaded: ${formatProblem(problem)}`);
      return;
    }
    try {
      await app.reload(again.config);
      const filter = parseLogFilter(again.config.log.level);
      log.info("configuration reloaded");
      if (filter.kind === "filter") log.setFilter(filter.filter);
    } catch (error) {
      log.error(`not reloaded: ${error instanceof Error ? error.message : String(error)}`);
    }
  });

  const name = await signals.stop;
  log.info(`${name} received, draining`);
  await app.drain();
  await app.stop();
  log.info("TAG shutdown complete");
  lines.flush();
  await file?.drained();
  signals.close();
  return "ok";
}

/** The signals of this process, from the moment this exists. */
class Signals {
  /** Resolves with the name of the first SIGTERM or SIGINT. */
  readonly stop: Promise<NodeJS.Signals>;
  #reload: (() => Promise<void>) | undefined;
  /** Reloads happen one after the other. */
  #reloading: Promise<void> = Promise.resolve();
  readonly #listeners: (readonly [NodeJS.Signals, () => void])[] = [];

  constructor() {
    let isStopping = false;
    const { promise, resolve } = Promise.withResolvers<NodeJS.Signals>();
    this.stop = promise;
    for (const name of ["SIGTERM", "SIGINT"] as const) {
      this.#listen(name, () => {
        if (isStopping) process.exit(EXIT_CODES.runtime.code);
        isStopping = true;
        resolve(name);
      });
    }
    this.#listen("SIGHUP", () => {
      this.#reloading = this.#reloading.then(() => this.#reload?.());
    });
  }

  /** `reload` must not reject. A SIGHUP before this is ignored. */
  onReload(reload: () => Promise<void>): void {
    this.#reload = reload;
  }

  close(): void {
    for (const [name, listener] of this.#listeners) process.off(name, listener);
  }

  #listen(name: NodeJS.Signals, listener: () => void): void {
    process.on(name, listener);
    this.#listeners.push([name, listener]);
  }
}
