/**
 * The operational routes: `/health` and `/metrics` where everybody looks for them, and all of
 * `/_/`. The S3 port carries both, and the border is exact: `_` cannot be a bucket, so what is
 * below it is ours, found or not; `health` and `metrics` can be, so those two are ours only as a
 * plain unsigned GET or HEAD without a query. Everything else is S3 (DG-20 of the operations
 * specification).
 *
 * The routes run on hono, which the data path never enters (decision A3): `opsFirst` costs an S3
 * request two character comparisons. What the routes say comes from `OpsSources`.
 */

import { Hono } from "hono";
import type { Context } from "hono";
import { secureHeaders } from "hono/secure-headers";

import type { Clock } from "../base/clock.ts";
import type { Handler, Inbound, Reply } from "../http/exchange.ts";
import { isAdministrative } from "./admin.ts";

export type LifePhase = "starting" | "healthy" | "draining";

/** What `/_/health` shows; the disk cache's figures, taken without any I/O. */
export interface HealthReport {
  readonly phase: LifePhase;
  readonly peakRssBytes: number;
  readonly cacheSizeBytes: number;
  /** 0: no limit was set. */
  readonly cacheMaxBytes: number;
  readonly cacheEntries: number;
  /** Of the limit, or of the file system when there is none; 0 to 100. */
  readonly cacheUtilizationPct: number;
}

/** Whether this node should get traffic, apart from its phase. */
export interface ReadinessReport {
  /** Why the cache disk cannot be used; undefined when it can. */
  readonly diskProblem: string | undefined;
  /** From real traffic: whether the last thing heard of upstream was good. */
  readonly isUpstreamReachable: boolean;
}

export interface OpsSources {
  readonly clock: Clock;
  readonly authMode: "transparent" | "signing";
  health(): HealthReport;
  readiness(): ReadinessReport;
  /** The figures of `/_/stats`; asked for at most every ten seconds. */
  stats(): Record<string, unknown> | Promise<Record<string, unknown>>;
  /** Prometheus text exposition format 0.0.4. */
  metricsText(): string | Promise<string>;
}

/** How long one computation of `/_/stats` is good for. */
const STATS_MAX_AGE_SECONDS = 10;

const PROMETHEUS_TEXT = "text/plain; version=0.0.4; charset=utf-8";

/** A handler for the requests `isOperational` claims; `admin` answers the administrative ones. */
export function createOps(sources: OpsSources, admin?: Handler): Handler {
  const app = new Hono();
  const stats = new StatsCache(sources);
  const metrics = async (context: Context) =>
    context.body(await sources.metricsText(), 200, { "Content-Type": PROMETHEUS_TEXT });

  app.get("/health", (context) => {
    const { phase } = sources.health();
    // Load balancers watch this one: it turns before the first request is refused.
    if (phase === "healthy") return context.text("OK");
    return context.text(phase.toUpperCase(), 503);
  });
  app.get("/metrics", metrics);

  app.use("/_/*", secureHeaders(SECURITY_HEADERS));
  app.get("/_", (context) => context.redirect("/_/", 308));
  app.get("/_/", (context) => context.json({ endpoints: ENDPOINTS }));
  app.get("/_/metrics", metrics);
  app.get("/_/health", (context) => context.json(healthBody(sources.health())));
  app.get("/_/ready", (context) => {
    const { isReady, ...body } = readyBody(sources, context.req.query("upstream") === "required");
    return context.json(body, isReady ? 200 : 503);
  });
  app.get("/_/stats", async (context) => {
    const { body, ageSeconds } = await stats.get();
    return context.json(body, 200, {
      "Cache-Control": `max-age=${STATS_MAX_AGE_SECONDS}`,
      Age: String(ageSeconds),
    });
  });
  // There are no sessions yet, so nobody is anybody; the version is not for strangers (DG-25).
  app.get("/_/api/whoami", (context) =>
    context.json({ authenticated: false, mode: sources.authMode }, 401),
  );
  app.notFound((context) => context.json({ error: "not_found" }, 404));
  app.onError((error) => {
    // The listener logs it and answers 500, like any other request that fails.
    throw error;
  });

  return async (inbound) => {
    if (admin !== undefined && isAdministrative(inbound)) return admin(inbound);
    if (inbound.method !== "GET" && inbound.method !== "HEAD") return METHOD_NOT_ALLOWED;
    // HEAD takes the way of GET; the listener keeps the length and leaves out the body.
    const request = new Request(`http://tag.invalid${inbound.rawTarget}`);
    return toReply(await app.fetch(request), inbound);
  };
}

/** `handler`, except for operational requests, which go to `ops`. */
export function opsFirst(handler: Handler, ops: Handler): Handler {
  return (inbound) => (isOperational(inbound) ? ops(inbound) : handler(inbound));
}

const UNDERSCORE = "_".charCodeAt(0);
const SLASH = "/".charCodeAt(0);
const QUESTION_MARK = "?".charCodeAt(0);

/** Whether a request is for the operational routes and not for S3. Never throws. */
export function isOperational(inbound: Pick<Inbound, "method" | "rawTarget" | "fields">): boolean {
  const { rawTarget } = inbound;
  if (rawTarget.charCodeAt(1) === UNDERSCORE) {
    const next = rawTarget.charCodeAt(2);
    return next === SLASH || next === QUESTION_MARK || rawTarget.length === 2;
  }
  if (rawTarget !== "/health" && rawTarget !== "/metrics") return false;
  if (inbound.method !== "GET" && inbound.method !== "HEAD") return false;
  return !inbound.fields.has("authorization");
}

const ENDPOINTS = ["/_/health", "/_/ready", "/_/stats", "/_/metrics", "/_/api/whoami"];

const SECURITY_HEADERS: Parameters<typeof secureHeaders>[0] = {
  contentSecurityPolicy: { defaultSrc: ["'self'"] },
  xFrameOptions: "DENY",
  // Says something about TLS only, and only the connection knows that (see toReply).
  strictTransportSecurity: false,
};

const METHOD_NOT_ALLOWED: Reply = {
  status: 405,
  headers: ["Allow", "GET, HEAD", "Content-Type", "application/json"],
  body: { kind: "bytes", bytes: new TextEncoder().encode('{"error":"method_not_allowed"}') },
};

function healthBody(report: HealthReport): Record<string, unknown> {
  return {
    status: report.phase,
    peak_rss_bytes: report.peakRssBytes,
    cache_size_bytes: report.cacheSizeBytes,
    cache_max_bytes: report.cacheMaxBytes,
    cache_entries: report.cacheEntries,
    cache_utilization_pct: report.cacheUtilizationPct,
  };
}

/** Hits still work while upstream is away, so that alone takes a node out only where asked for. */
function readyBody(sources: OpsSources, isUpstreamRequired: boolean) {
  const { phase } = sources.health();
  const { diskProblem, isUpstreamReachable } = sources.readiness();
  const upstream = isUpstreamReachable ? "reachable" : "unreachable";
  if (phase !== "healthy") return { isReady: false, status: phase, upstream };
  if (diskProblem !== undefined) {
    return { isReady: false, status: "disk_failed", upstream, reason: diskProblem };
  }
  if (isUpstreamReachable) return { isReady: true, status: "ready", upstream };
  return { isReady: !isUpstreamRequired, status: "degraded", upstream };
}

/** One answer of `stats()` for all who ask within its age, computed once however many ask. */
class StatsCache {
  readonly #sources: OpsSources;
  #computing: Promise<Record<string, unknown>> | undefined;
  #computedAtMs = Number.NEGATIVE_INFINITY;

  constructor(sources: OpsSources) {
    this.#sources = sources;
  }

  async get(): Promise<{ body: Record<string, unknown>; ageSeconds: number }> {
    const ageMs = this.#sources.clock.monotonicMs() - this.#computedAtMs;
    if (this.#computing === undefined || ageMs >= STATS_MAX_AGE_SECONDS * 1000) {
      this.#computedAtMs = this.#sources.clock.monotonicMs();
      this.#computing = this.#compute();
      // A failure is this caller's, not that of everybody in the next ten seconds.
      this.#computing.catch(() => {
        this.#computing = undefined;
      });
      return { body: await this.#computing, ageSeconds: 0 };
    }
    return { body: await this.#computing, ageSeconds: Math.floor(ageMs / 1000) };
  }

  async #compute(): Promise<Record<string, unknown>> {
    const computedAt = new Date(this.#sources.clock.nowMs()).toISOString();
    return { ...(await this.#sources.stats()), computed_at: computedAt };
  }
}

async function toReply(response: Response, inbound: Inbound): Promise<Reply> {
  const headers: string[] = ["x-amz-request-id", inbound.id];
  for (const [name, value] of response.headers) headers.push(name, value);
  if (inbound.isSecure && inbound.rawTarget.startsWith("/_")) {
    headers.push("Strict-Transport-Security", "max-age=31536000");
  }
  const bytes = new Uint8Array(await response.arrayBuffer());
  return { status: response.status, headers, body: { kind: "bytes", bytes } };
}
