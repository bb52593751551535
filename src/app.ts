/**
 * The composition root: builds every part from the configuration, starts them in order and
 * stops them in reverse. It knows every module and decides nothing.
 *
 *   start   origin (when upstream is a folder) → store → learned keys → listeners
 *   stop    listeners → flights → background tasks → store → upstream connections → origin
 */

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

import {
  type Auth,
  type ClientPair,
  createSigningAuth,
  createTransparentAuth,
  LearnedStore,
  type Rights,
  systemLearnedFiles,
} from "./auth/auth.ts";
import { type Clock, systemClock } from "./base/clock.ts";
import { systemDisk } from "./base/disk.ts";
import { GatewayError } from "./base/errors.ts";
import { HeapGarbage } from "./base/heap-garbage.ts";
import { type Random, systemRandom } from "./base/random.ts";
import { Secret } from "./base/secret.ts";
import { Tasks } from "./base/tasks.ts";
import { BUILD } from "./base/version.ts";
import { Cache, openWriteNotes, Rules } from "./cache/cache.ts";
import { Coalescer } from "./coalesce/coalescer.ts";
import type { KeyPair as ConfiguredPair } from "./config/option.ts";
import type { Config } from "./config/options.ts";
import { storageSettings } from "./config/storage-settings.ts";
import { isFileEndpoint } from "./config/validate.ts";
import { createObserver } from "./gateway/accounting.ts";
import { createGateway, type Gateway } from "./gateway/gateway.ts";
import type { Handler } from "./http/exchange.ts";
import { createAccessLog } from "./observability/access-log.ts";
import { CacheOutcomes, showDiskFigures, showStoreFigures } from "./observability/cache-figures.ts";
import { Events } from "./observability/events.ts";
import { type Log, SILENT_LOG } from "./observability/log.ts";
import { createMetrics, type Metrics } from "./observability/metrics.ts";
import { LoopLag, showProcess } from "./observability/process-figures.ts";
import { createRequestMeter } from "./observability/request-meter.ts";
import type { Origin, OriginCredential } from "./origin/origin.ts";
import { createStrictListener, createZeroCopyListener, type Listener } from "./server/listener.ts";
import type { ListenerOptions, TlsMaterial } from "./server/listener.ts";
import {
  type AdminActions,
  createAdmin,
  type DamagedBody,
  newAdminToken,
  removeAdminAccess,
  writeAdminAccess,
} from "./server/admin.ts";
import { createOps, type LifePhase, opsFirst, type OpsSources } from "./server/ops.ts";
import { requestIds } from "./server/request-ids.ts";
import { BLOCK_BYTES_MIN } from "./storage/block-files.ts";
import { type DiskStorage, openStorage } from "./storage/open.ts";
import type { Storage } from "./storage/storage.ts";
import { createHttpTransport } from "./upstream/http-transport.ts";
import type { UpstreamTransport } from "./upstream/transport.ts";
import { Upstream } from "./upstream/upstream.ts";

/** What a test may replace. */
export interface Seams {
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  /** Stands in for the network towards the object store. */
  readonly transport: UpstreamTransport | undefined;
}

const SYSTEM_SEAMS: Seams = {
  clock: systemClock,
  random: systemRandom,
  log: SILENT_LOG,
  transport: undefined,
};

export interface App {
  /** Binds the ports. `readPort` is undefined when that port is off. */
  start(): Promise<{ readonly httpPort: number; readonly readPort: number | undefined }>;
  /** Stops accepting and lets running requests finish, up to `server.drain_timeout`. */
  drain(): Promise<void>;
  /** Ends what is left and closes everything. Safe to call when `start` failed. */
  stop(): Promise<void>;
  /** Takes over what can change while running: the TLS certificate. Throws when it cannot be read. */
  reload(config: Config): Promise<void>;
  /** The dev origin, when upstream is a folder: for tests that change rights or faults. */
  readonly origin: Origin | undefined;
}

/** Bound on remembered writes; each costs some 100 bytes. */
const TOMBSTONES_MAX = 100_000;
/** With the bytes on disk too, memory only bridges the way there. */
const WINDOW_WITH_FILL_BYTES = 4 * 1024 * 1024;
const PIECE_BYTES = 8 * 1024 * 1024;
const LEGS_MAX = 8;
/** One slow connection becomes four, which is what S3 clients themselves do for large objects. */
const PARALLEL_LEGS = 4;
const PARALLEL_AFTER_MS = 500;
const CROWD_READERS = 16;
const SLOW_CONSUMER_MS = 10_000;
/** Fills that may be completed although nobody reads them any more. */
const ORPHANS_MAX = 64;

/** Builds a gateway; nothing is bound yet. Rejects when the cache folder or upstream cannot be used. */
export async function createApp(config: Config, seams: Partial<Seams> = {}): Promise<App> {
  const { clock, random, log, transport } = { ...SYSTEM_SEAMS, ...seams };
  const metrics = createMetrics();
  const events = new Events({ metrics, log, clock });
  const tasks = new Tasks({ onFailure: events.taskFailed });
  const loopLag = new LoopLag(metrics, clock);
  const heapGarbage = new HeapGarbage(clock);
  showProcess(metrics, BUILD);

  const upstreamSide = await connectUpstream(
    config,
    { clock, random, log, transport },
    events,
    metrics,
  );
  const { auth, upstream, origin } = upstreamSide;
  const storage = await openStore(config, { clock, random, log }, events).catch(
    (error: unknown) => {
      loopLag.stop();
      heapGarbage.stop();
      void upstreamSide.close();
      throw error;
    },
  );
  await keepLearned(config, auth, tasks, { clock, random, log });

  const flights = createFlights(config, clock, events, metrics);
  const cache = new Cache(
    storage,
    clock,
    {
      ttlMs: config.cache.ttlMs,
      sizeThresholdBytes: config.cache.sizeThresholdBytes,
      rules: new Rules(config.cache.rules),
      staleIfErrorMs: config.cache.staleIfErrorMs,
      tombstonesMax: TOMBSTONES_MAX,
    },
    {
      fillSkipped: (id, reason) => events.populateSkipped(id, reason),
      invalidated: (targets, entries) =>
        events.invalidated(
          targets.kind === "bucket"
            ? { scope: "bucket", bucket: targets.bucket, entries }
            : {
                scope: targets.ids.length === 1 ? "object" : "objects",
                bucket: targets.ids[0]?.bucket ?? "",
                key: targets.ids.length === 1 ? targets.ids[0]?.key : undefined,
                entries,
              },
        ),
    },
    storage === undefined
      ? undefined
      : openWriteNotes({
          folder: join(config.cache.diskPath, "writes"),
          disk: systemDisk,
          onTrouble: (cause) =>
            log.child({ module: "cache" }).warn("a write could not be noted", { error: cause }),
        }),
  );
  const outcomes = new CacheOutcomes(metrics, clock);
  const observer = createObserver({
    metrics,
    events,
    meter: createRequestMeter(metrics),
    outcomes,
    accessLog: config.log.access ? createAccessLog(log) : undefined,
    clock,
  });
  const gateway = createGateway(
    {
      auth,
      cache,
      flights,
      upstream,
      observer,
      clock,
      blocks: {
        thresholdBytes: config.cache.blockThresholdBytes,
        alignBytes: BLOCK_BYTES_MIN,
      },
      background: (name, run) => tasks.spawn(name, run),
    },
    {
      warmOnWrite: config.cache.enabled && config.cache.warmOnWrite,
      virtualHostDomain: config.server.virtualHostDomain,
      inflightMax: config.server.maxInflightRequests,
      lessonTimeoutMs: config.cache.lessonTimeoutMs,
      hostId: config.cache.nodeId ?? "tag",
    },
  );

  let phase: LifePhase = "starting";
  const adminToken = newAdminToken(random);
  const admin =
    storage === undefined
      ? undefined
      : createAdmin({
          token: adminToken,
          bindIp: config.server.bindIp,
          actions: adminActions(cache, flights, storage),
        });
  const operational: OpsSources = {
    clock,
    authMode: config.upstream.transparentProxy ? "transparent" : "signing",
    health: () => ({ phase, ...storeHealth(storage) }),
    readiness: () => ({
      diskProblem: storage?.stats().degradedBecause,
      isUpstreamReachable: isReachable(upstream),
    }),
    stats: () => ({ ...outcomes.totals(), ...storage?.stats() }),
    metricsText: () => metrics.text(),
  };
  const handler = opsFirst(gateway.handle, createOps(operational, admin));
  const listeners = createListeners(config, { clock, random, log }, handler);
  showGauges(metrics, { gateway, flights, auth, storage, listeners });

  return {
    origin,
    async start() {
      for (const listener of listeners) await listener.start();
      phase = "healthy";
      metrics.ready.set(1);
      const [strict, zeroCopy] = listeners;
      if (admin !== undefined) {
        writeAdminAccess(config.cache.diskPath, { port: strict.port, token: adminToken });
      }
      return { httpPort: strict.port, readPort: zeroCopy?.port };
    },
    async drain() {
      phase = "draining";
      metrics.ready.set(0);
      await Promise.all(listeners.map((listener) => listener.drain(config.server.drainTimeoutMs)));
    },
    async stop() {
      phase = "draining";
      if (admin !== undefined) removeAdminAccess(config.cache.diskPath);
      await Promise.all(listeners.map((listener) => listener.stop()));
      flights.failAll(new GatewayError("shutting_down", "the gateway is stopping"));
      loopLag.stop();
      heapGarbage.stop();
      await tasks.stop();
      cache.close();
      await storage?.close();
      await upstreamSide.close();
    },
    async reload(next) {
      try {
        const tls = readTls(next);
        if (tls !== undefined) for (const listener of listeners) listener.reloadTls(tls);
        metrics.configReloadTotal.inc({ result: "success" });
      } catch (error) {
        metrics.configReloadTotal.inc({ result: "failure" });
        throw error;
      }
    },
  };
}

// ---- the object store and who may use it ------------------------------------

interface UpstreamSide {
  readonly auth: Auth;
  readonly upstream: Upstream;
  readonly origin: Origin | undefined;
  close(): Promise<void>;
}

/** The object store, which may be a folder of this machine served in this process. */
async function connectUpstream(
  config: Config,
  { clock, random, log, transport }: Seams,
  events: Events,
  metrics: Metrics,
): Promise<UpstreamSide> {
  const local = isFileEndpoint(config.upstream.endpoint)
    ? await serveOrigin(config, { clock, random, log, transport })
    : undefined;
  const endpoint = local?.endpoint ?? config.upstream.endpoint;
  const http =
    transport ??
    createHttpTransport({
      endpoint: new URL(endpoint),
      maxIdlePerHost: config.upstream.maxIdleConnsPerHost,
      maxConnections: config.upstream.maxConnections,
      connectTimeoutMs: config.upstream.connectTimeoutMs,
      headerTimeoutMs: config.upstream.headerTimeoutMs,
      stallTimeoutMs: config.upstream.stallTimeoutMs,
      clock,
    });
  const upstream = new Upstream({
    transport: http,
    clock,
    random,
    observer: {
      onResponse(method, status, ms) {
        metrics.upstreamRequestDurationSeconds.observe({ method }, ms / 1000);
        metrics.upstreamResponsesTotal.inc({ method, code: String(status) });
      },
      onFailure: (method, error) => events.upstreamFailed(method, error),
      onBytes: (sizeBytes) => metrics.upstreamReceivedBytesTotal.inc(sizeBytes),
      onRetry: () => metrics.upstreamRetriesTotal.inc(),
    },
  });
  return {
    auth: createAuth(config, endpoint, local?.origin, clock, events),
    upstream,
    origin: local?.origin,
    async close() {
      upstream.close();
      await local?.close();
    },
  };
}

function createAuth(
  config: Config,
  endpoint: string,
  origin: Origin | undefined,
  clock: Clock,
  events: Events,
): Auth {
  const { credentials, upstream } = config;
  const authzTtlMs = credentials.authzCacheTtlMs;
  if (upstream.transparentProxy) {
    const own = origin?.proxyAccess;
    return createTransparentAuth({
      endpoint,
      accessKeyId: own?.accessKeyId ?? credentials.accessKeyId ?? "",
      secretAccessKey:
        own === undefined
          ? (credentials.secretAccessKey ?? new Secret(""))
          : new Secret(own.secretAccessKey),
      authzTtlMs,
      clock,
      onUnreadableKeys: (accessKeyId) =>
        events.keyUnreadable(accessKeyId, "sealed with another secret, or damaged"),
    });
  }
  return createSigningAuth({
    endpoint,
    region: upstream.region,
    isPathStyle: upstream.forcePathStyle,
    pairs: clientPairs(config),
    forwardsAnonymous: upstream.forwardAnonymous,
    authzTtlMs,
    clock,
  });
}

/** Signing mode's pairs: those listed, and the gateway's own unless it only signs for others. */
function clientPairs({ credentials }: Config): ClientPair[] {
  const pairs: ClientPair[] = credentials.pairs.map((pair) => ({
    accessKeyId: pair.accessKeyId,
    secretAccessKey: pair.secretAccessKey,
    sessionToken: pair.sessionToken,
    buckets: pair.buckets,
    rights: rightsOf(pair),
    upstream:
      pair.upstreamAccessKeyId === undefined || pair.upstreamSecretAccessKey === undefined
        ? undefined
        : {
            accessKeyId: pair.upstreamAccessKeyId,
            secretAccessKey: pair.upstreamSecretAccessKey,
            // A token belongs to the credentials that sign upstream, whichever these are.
            sessionToken: pair.sessionToken,
          },
  }));
  const { accessKeyId, secretAccessKey, sessionToken } = credentials;
  const isListed = pairs.some((pair) => pair.accessKeyId === accessKeyId);
  if (accessKeyId !== undefined && secretAccessKey !== undefined && !isListed) {
    pairs.push({ accessKeyId, secretAccessKey, sessionToken });
  }
  return pairs;
}

function rightsOf({ rights }: ConfiguredPair): Rights {
  const mayRead = rights.includes("read") || rights.includes("own");
  const mayWrite = rights.includes("write") || rights.includes("own");
  if (mayRead) return mayWrite ? "read-write" : "read";
  return mayWrite ? "write" : "none";
}

/** The dev origin behind a listener of its own on the loopback interface: real sockets, no shortcut. */
async function serveOrigin(config: Config, { clock, random, log }: Seams) {
  const { createOrigin, DEFAULT_CREDENTIALS } = await import("./origin/origin.ts");
  const origin = await createOrigin({
    root: fileURLToPath(config.upstream.endpoint),
    latencyMs: config.origin.latencyMs,
    bandwidthBytesPerSecond: config.origin.bandwidthBytes || undefined,
    faults: config.origin.faults,
    credentials:
      config.origin.pairs.length === 0
        ? DEFAULT_CREDENTIALS
        : config.origin.pairs.map(credentialOf),
    clock,
    random,
    log: log.child({ module: "origin" }),
  });
  const listener = createStrictListener({
    bindIp: "127.0.0.1",
    port: 0,
    handler: origin.handle,
    clock,
    log: log.child({ module: "origin" }),
    newRequestId: requestIds(random),
  });
  await listener.start();
  return {
    origin,
    endpoint: `http://localhost:${listener.port}`,
    async close() {
      await listener.stop();
      origin.close();
    },
  };
}

function credentialOf(pair: ConfiguredPair): OriginCredential {
  return {
    accessKeyId: pair.accessKeyId,
    secretAccessKey: pair.secretAccessKey.reveal(),
    rights: Object.fromEntries(pair.buckets.map((bucket) => [bucket, pair.rights])),
  };
}

// ---- the cache --------------------------------------------------------------

async function openStore(
  config: Config,
  { clock, random, log }: Pick<Seams, "clock" | "random" | "log">,
  events: Events,
): Promise<DiskStorage | undefined> {
  const { cache } = config;
  if (!cache.enabled) return undefined;
  const storage = await openStorage({
    ...storageSettings(config),
    memoryBytes: cache.memoryBytes,
    ...(cache.maxConcurrentWrites > 0 ? { fillsMax: cache.maxConcurrentWrites } : {}),
    clock,
    random,
    report(event) {
      switch (event.kind) {
        case "damage":
          log.warn("damaged bytes in the cache were dropped", {
            what: event.what,
            error: event.cause,
          });
          return;
        case "degraded":
          events.storeDegraded(event.because);
          return;
        case "recovered":
          events.storeRecovered();
          return;
        case "pins-full":
          events.pinsFull(event.maxBytes);
          return;
      }
    },
  });
  const { entries, physicalBytes, capacityBytes } = storage.stats();
  log.child({ module: "cache" }).info("the cache is open", {
    path: cache.diskPath,
    entries,
    physicalBytes,
    capacityBytes,
    capacityFrom:
      cache.maxDiskUsageBytes === 0
        ? "80 % of the space that was free at the first start"
        : "cache.max_disk_usage_bytes",
    pins: storage.pinFigures().pins.length,
  });
  return storage;
}

/** What operators may do to the cache while it runs; see server/admin.ts. */
function adminActions(cache: Cache, flights: Coalescer, storage: DiskStorage): AdminActions {
  return {
    async purge(bucket, prefix) {
      // Nobody joins what is on its way, at the beginning or from what began meanwhile.
      flights.detachBucket(bucket);
      const entries = await cache.purge(bucket, prefix);
      flights.detachBucket(bucket);
      return { entries };
    },
    pin: (bucket, prefix) => storage.pin(bucket, prefix),
    unpin: (bucket, prefix) => storage.unpin(bucket, prefix),
    async verify(damaged) {
      const isThere = (body: DamagedBody) => storage.lookup(body)?.version === body.version;
      storage.remove(damaged.filter(isThere));
      return { dropped: damaged.filter((body) => !isThere(body)).length };
    },
    compact: (signal) => storage.compact(signal),
  };
}

function createFlights(config: Config, clock: Clock, events: Events, metrics: Metrics): Coalescer {
  const { flightWindowBytes, maxPopulateMemoryBytes } = config.cache;
  return new Coalescer(
    {
      windowBytes: flightWindowBytes,
      windowWithFillBytes: Math.min(flightWindowBytes, WINDOW_WITH_FILL_BYTES),
      slowConsumerMs: SLOW_CONSUMER_MS,
      pieceBytes: PIECE_BYTES,
      legsMax: LEGS_MAX,
      parallelLegs: PARALLEL_LEGS,
      parallelAfterMs: PARALLEL_AFTER_MS,
      crowdReaders: CROWD_READERS,
      memoryBytes: maxPopulateMemoryBytes,
      orphansMax: ORPHANS_MAX,
    },
    clock,
    {
      slowConsumer: (laggingBytes) => events.slowConsumerCut(laggingBytes),
      continuesAlone: () => metrics.backgroundFetchesTriggeredTotal.inc(),
      endedAlone: (isStored) =>
        (isStored
          ? metrics.backgroundFetchesSucceededTotal
          : metrics.backgroundFetchesFailedTotal
        ).inc(),
    },
  );
}

/** What was learned of clients survives a restart, sealed under the gateway's own secret. */
async function keepLearned(
  config: Config,
  auth: Auth,
  tasks: Tasks,
  { clock, random, log }: Pick<Seams, "clock" | "random" | "log">,
): Promise<void> {
  const secret = config.credentials.secretAccessKey;
  if (!config.credentials.persistLearned || !config.cache.enabled || secret === undefined) return;
  const store = new LearnedStore({
    path: join(config.cache.diskPath, "learned.sealed"),
    secret,
    auth,
    files: systemLearnedFiles,
    clock,
    random,
    onTrouble: (message, cause) => log.child({ module: "auth" }).warn(message, { error: cause }),
  });
  await store.load();
  tasks.spawn("keep learned keys", (signal) => store.run(signal));
}

// ---- the servers ------------------------------------------------------------

function createListeners(
  config: Config,
  { clock, random, log }: Pick<Seams, "clock" | "random" | "log">,
  handler: Handler,
): readonly [strict: Listener, ...zeroCopy: Listener[]] {
  const { server } = config;
  const options: ListenerOptions = {
    bindIp: server.bindIp,
    port: server.httpPort,
    tls: readTls(config),
    handler,
    clock,
    log: log.child({ module: "http" }),
    newRequestId: requestIds(random),
    limits: {
      connectionsMax: server.maxConnections,
      headerTimeoutMs: server.headerTimeoutMs,
      idleTimeoutMs: server.idleTimeoutMs,
      stallTimeoutMs: server.sendStallTimeoutMs,
      bufferedReplyBytes: server.bufferedReplyBytes,
      bufferedRepliesBytes: server.bufferedRepliesBytes,
    },
  };
  const strict = createStrictListener({ ...options, engine: server.engine });
  if (server.readPort === 0) return [strict];
  return [strict, createZeroCopyListener({ ...options, port: Math.max(0, server.readPort) })];
}

function readTls({ server }: Config): TlsMaterial | undefined {
  const { tlsCertFile, tlsKeyFile } = server;
  if (tlsCertFile === undefined || tlsKeyFile === undefined) return undefined;
  return {
    certificatePem: readFileSync(tlsCertFile, "utf8"),
    keyPem: readFileSync(tlsKeyFile, "utf8"),
  };
}

// ---- what is shown ----------------------------------------------------------

function storeHealth(storage: Storage | undefined) {
  const stats = storage?.stats();
  const sizeBytes = stats?.physicalBytes ?? 0;
  const maxBytes = stats?.capacityBytes ?? 0;
  return {
    peakRssBytes: process.resourceUsage().maxRSS * (process.platform === "darwin" ? 1 : 1024),
    cacheSizeBytes: sizeBytes,
    cacheMaxBytes: maxBytes,
    cacheEntries: stats?.entries ?? 0,
    cacheUtilizationPct: maxBytes === 0 ? 0 : (sizeBytes / maxBytes) * 100,
  };
}

function isReachable({ health }: Upstream): boolean {
  const { lastSuccessAtMs, lastFailureAtMs } = health;
  return lastFailureAtMs === undefined || (lastSuccessAtMs ?? 0) >= lastFailureAtMs;
}

function showGauges(
  metrics: Metrics,
  parts: {
    readonly gateway: Gateway;
    readonly flights: Coalescer;
    readonly auth: Auth;
    readonly storage: DiskStorage | undefined;
    readonly listeners: readonly (Listener | undefined)[];
  },
): void {
  const { gateway, flights, auth, storage, listeners } = parts;
  metrics.beforeText(() => {
    const sizes = auth.sizes();
    metrics.derivedKeyStoreSize.set(sizes.keys);
    metrics.authzCacheSize.set(sizes.grants);
    metrics.inflightRequests.set(gateway.inflightCount);
    metrics.activeBroadcasts.set(flights.activeCount);
    metrics.activeBackgroundFetches.set(flights.orphanCount);
    metrics.flightListeners.set(flights.readerCount);
    metrics.flightMemoryBytes.set(flights.heldBytes);
    metrics.activeConnections.set(
      listeners.reduce((sum, listener) => sum + (listener?.connectionCount ?? 0), 0),
    );
    metrics.replyMemoryBytes.set(
      listeners.reduce((sum, listener) => sum + (listener?.replyMemoryBytes ?? 0), 0),
    );
    if (storage === undefined) return;
    showStoreFigures(metrics, storage.stats());
    const { bytes, maxBytes, refusedEntries } = storage.pinFigures();
    showDiskFigures(metrics, {
      pinnedBytes: bytes,
      pinnedMaxBytes: maxBytes,
      refusedPins: refusedEntries,
      quotas: storage.quotaFigures(),
      ...storage.resources(),
    });
  });
}
