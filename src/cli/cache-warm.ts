/**
 * `tag cache warm`: reads what will be needed through the gateway before it is needed, so
 * that it is in the cache by then: a prefix, or the objects a file names.
 */

import { createReadStream } from "node:fs";
import { resolve } from "node:path";
import { createInterface } from "node:readline";

import { formatByteSizeRounded } from "../base/byte-size.ts";
import { systemClock } from "../base/clock.ts";
import type { Config } from "../config/options.ts";
import type { KeyPair } from "../s3/sigv4.ts";
import { usage } from "./arguments.ts";
import { startProgress } from "./cache-progress.ts";
import { formatTarget, parseTarget, printable, type Target } from "./cache-target.ts";
import { GatewayClient } from "./cache-warm-client.ts";
import {
  prefetched,
  warm,
  type WarmItem,
  type WarmOptions,
  type WarmReport,
} from "./cache-warm-run.ts";
import {
  readWarmState,
  removeWarmState,
  writeWarmState,
  type WarmState,
} from "./cache-warm-state.ts";
import { command } from "./command.ts";
import { CONFIG_FLAG, loadForCommand, reportProblems } from "./config-flags.ts";
import { CliError } from "./exit-codes.ts";
import { localServerUrl } from "./local-server.ts";
import type { Terminal } from "./terminal.ts";

const CONCURRENCY = 8;
const CONCURRENCY_MAX = 256;
/** Objects known before they are their turn: what the bar calls the total. */
const AHEAD = 100_000;
/** Failures named on the screen. */
const FAILURES_SHOWN = 10;

export const cacheWarm = command({
  name: "tag cache warm",
  description: "Read a prefix or a list of objects through the gateway, so that they are cached",
  args: {
    target: {
      type: "positional",
      valueHint: "s3://BUCKET/PREFIX",
      description: "What to warm: every key that begins so",
      required: false,
    },
    ...CONFIG_FLAG,
    manifest: {
      type: "string",
      valueHint: "FILE",
      description: "Objects to warm instead, one s3://bucket/key per line",
    },
    "dry-run": { type: "boolean", description: "Only say how many objects and bytes it would be" },
    concurrency: {
      type: "string",
      valueHint: "N",
      default: String(CONCURRENCY),
      description: "Objects read at the same time",
    },
    endpoint: {
      type: "string",
      valueHint: "URL",
      description: "The gateway (default: the local one, by the configuration)",
    },
    state: {
      type: "string",
      valueHint: "FILE",
      description: "Where to note how far it came (default: .tag-warm-<id>.json, here)",
    },
    json: { type: "boolean", description: "JSON for machines" },
  },
  examples: [
    ["tag cache warm s3://models/llama/ --dry-run", "how much is it?"],
    ["tag cache warm s3://models/llama/", "credentials are those in AWS_ACCESS_KEY_ID and so on"],
    [
      "tag cache warm --manifest epoch-1.txt --concurrency 32",
      "after Ctrl-C, the same line goes on",
    ],
  ],
  async run(input) {
    const { args, terminal } = input;
    const source = sourceOf(terminal.cwd, args.target, args.manifest);
    const concurrency = concurrencyOf(args.concurrency);
    const loaded = await loadForCommand(input);
    if (loaded.kind === "failed") return reportProblems(terminal, loaded.problems);
    const { config } = loaded;

    const isDryRun = args["dry-run"] === true;
    const statePath = resolve(terminal.cwd, args.state ?? defaultStatePath(source));
    const nothingYet: WarmState = {
      source: source.name,
      cursor: "",
      objects: 0,
      bytes: 0,
      failed: [],
    };
    const before = (isDryRun ? undefined : readWarmState(statePath, source.name)) ?? nothingYet;
    if (before !== nothingYet) {
      terminal.info(`going on after ${amount(before)} of an earlier run (${statePath})`);
    }
    using client = new GatewayClient({
      endpoint: endpointOf(config, args.endpoint),
      pair: credentialsOf(terminal),
      region: regionOf(terminal, config),
      concurrency,
      clock: systemClock,
    });
    using interrupt = new Interrupt();
    const progress = await startProgress(isDryRun ? "Counting" : "Warming", before.bytes);
    let report: WarmReport;
    try {
      report = await warm(prefetched(itemsOf(source, before, client), AHEAD), {
        client,
        clock: systemClock,
        concurrency,
        isDryRun,
        leavesOut: args.endpoint === undefined ? await leavesOutFor(config) : () => undefined,
        signal: interrupt.signal,
        before,
        onState: (state) => {
          if (!isDryRun) writeWarmState(statePath, state);
        },
        onBytes: (foundBytes, doneBytes) => {
          progress.setTotal(foundBytes);
          progress.advanceTo(doneBytes);
        },
      });
    } finally {
      progress.stop();
    }
    const isDone = report.isFinished && report.failed.length === 0;
    if (isDone && !isDryRun) removeWarmState(statePath);

    if (args.json === true) terminal.out(JSON.stringify({ ...report, isDryRun }, undefined, 2));
    else say(terminal, report, isDryRun, config);
    if (!isDone && !isDryRun) terminal.info(`the same command goes on from here (${statePath})`);
    return isDone ? "ok" : "partial";
  },
});

type Source =
  | { readonly kind: "prefix"; readonly name: string; readonly target: Target }
  | { readonly kind: "manifest"; readonly name: string; readonly path: string };

function sourceOf(cwd: string, target: string | undefined, manifest: string | undefined): Source {
  if ((target === undefined) === (manifest === undefined)) {
    throw usage("say what to warm: either s3://bucket/prefix or --manifest FILE");
  }
  if (target !== undefined) {
    const parsed = parseTarget(target);
    return { kind: "prefix", name: `s3://${parsed.bucket}/${parsed.prefix}`, target: parsed };
  }
  const path = resolve(cwd, manifest ?? "");
  return { kind: "manifest", name: `manifest ${path}`, path };
}

/** One file per source, so that two runs in one folder do not meet. */
function defaultStatePath(source: Source): string {
  return `.tag-warm-${new Bun.CryptoHasher("sha256").update(source.name).digest("hex").slice(0, 12)}.json`;
}

function concurrencyOf(text: string): number {
  const concurrency = Number(text);
  if (Number.isInteger(concurrency) && concurrency >= 1 && concurrency <= CONCURRENCY_MAX) {
    return concurrency;
  }
  throw usage(`--concurrency ${text} is not a number from 1 to ${CONCURRENCY_MAX}`);
}

function endpointOf(config: Config, given: string | undefined): string {
  const endpoint = given ?? localServerUrl(config);
  if (endpoint === undefined)
    throw usage("server.http_port is 0: say where it listens with --endpoint");
  if (!/^https?:\/\/[^/]+\/?$/.test(endpoint) || !URL.canParse(endpoint)) {
    throw usage(`--endpoint ${endpoint} is not a URL like http://127.0.0.1:8080`);
  }
  return endpoint;
}

function credentialsOf({ env }: Terminal): KeyPair {
  const accessKeyId = env["AWS_ACCESS_KEY_ID"] ?? "";
  const secretAccessKey = env["AWS_SECRET_ACCESS_KEY"] ?? "";
  if (accessKeyId === "" || secretAccessKey === "") {
    throw new CliError(
      "auth",
      "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY: objects are read as you",
    );
  }
  return { accessKeyId, secretAccessKey, sessionToken: env["AWS_SESSION_TOKEN"] || undefined };
}

function regionOf({ env }: Terminal, { upstream }: Config): string {
  return env["AWS_REGION"] || env["AWS_DEFAULT_REGION"] || upstream.region;
}

/**
 * What the cache of this configuration would not keep. A gateway elsewhere has a
 * configuration of its own, which is not known here.
 */
async function leavesOutFor({ cache }: Config): Promise<WarmOptions["leavesOut"]> {
  const { Rules } = await import("../cache/cache.ts");
  const rules = new Rules(cache.rules);
  return (id, sizeBytes) => {
    if (!rules.admits(id)) return "excluded";
    return (sizeBytes ?? 0) > cache.sizeThresholdBytes ? "too_large" : undefined;
  };
}

// ---- what is warmed ------------------------------------------------------------

async function* itemsOf(
  source: Source,
  before: WarmState,
  client: GatewayClient,
): AsyncGenerator<WarmItem, void, undefined> {
  for (const [bucket, key] of before.failed) {
    yield { bucket, key, sizeBytes: undefined, cursor: undefined };
  }
  if (source.kind === "manifest") {
    yield* manifestItems(source.path, Number(before.cursor || 0));
    return;
  }
  const { bucket, prefix } = source.target;
  for await (const page of client.list(bucket, prefix, before.cursor)) {
    for (const { key, sizeBytes } of page) yield { bucket, key, sizeBytes, cursor: key };
  }
}

/** The objects of a manifest behind line `afterLine`. Empty lines and comments (#) are skipped. */
async function* manifestItems(
  path: string,
  afterLine: number,
): AsyncGenerator<WarmItem, void, undefined> {
  const stream = createReadStream(path);
  let line = 0;
  try {
    for await (const text of createInterface({
      input: stream,
      crlfDelay: Number.POSITIVE_INFINITY,
    })) {
      line += 1;
      if (line <= afterLine || text === "" || text.startsWith("#")) continue;
      const { bucket, prefix: key } = parseTarget(text);
      if (key === "")
        throw usage(`${path}:${line}: ${formatTarget({ bucket, prefix: "" })} is no object`);
      yield { bucket, key, sizeBytes: undefined, cursor: String(line) };
    }
  } catch (error) {
    if (error instanceof CliError) throw error;
    throw new CliError("io", `cannot read the manifest ${path}`, { cause: error });
  } finally {
    stream.destroy();
  }
}

// ---- saying it -----------------------------------------------------------------

function say(terminal: Terminal, report: WarmReport, isDryRun: boolean, { cache }: Config): void {
  const { hits, failed, leftOut, isFinished } = report;
  if (leftOut.too_large.objects > 0) {
    const threshold = formatByteSizeRounded(cache.sizeThresholdBytes);
    terminal.info(
      `left out ${amount(leftOut.too_large)} above cache.size_threshold (${threshold}): the cache keeps none of them`,
    );
  }
  if (leftOut.excluded.objects > 0) {
    terminal.info(`left out ${amount(leftOut.excluded)} that cache.rules exclude`);
  }
  for (const { bucket, key, why } of failed.slice(0, FAILURES_SHOWN)) {
    terminal.warn(`${bucket}/${printable(key)}: ${why}`);
  }
  const hidden = failed.length - FAILURES_SHOWN;
  if (hidden > 0) terminal.warn(`and ${hidden} more; --json has them all`);
  const parts = [
    isDryRun ? `would warm ${amount(report)}` : `warmed ${amount(report)}`,
    ...(hits > 0 ? [`${hits.toLocaleString("en-US")} cached already`] : []),
    ...(failed.length > 0 ? [`${failed.length} failed`] : []),
    ...(isFinished ? [] : ["interrupted"]),
  ];
  terminal.out(parts.join(", "));
}

function amount({ objects, bytes }: { readonly objects: number; readonly bytes: number }): string {
  const count = objects === 1 ? "1 object" : `${objects.toLocaleString("en-US")} objects`;
  return `${count} (${formatByteSizeRounded(bytes)})`;
}

/** Ctrl-C and SIGTERM end the run in order, with the state written; a second one at once. */
class Interrupt implements Disposable {
  readonly #controller = new AbortController();
  readonly #abort = (): void => {
    this[Symbol.dispose]();
    this.#controller.abort(new Error("interrupted"));
  };

  constructor() {
    process.on("SIGINT", this.#abort);
    process.on("SIGTERM", this.#abort);
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  [Symbol.dispose](): void {
    process.off("SIGINT", this.#abort);
    process.off("SIGTERM", this.#abort);
  }
}
