// Each event counts and speaks in one call, and none of them can flood the log.

import { describe, expect, test } from "bun:test";
import { GatewayError } from "../../../src/base/errors.ts";
import { Events } from "../../../src/observability/events.ts";
import { createLog } from "../../../src/observability/log.ts";
import { createMetrics } from "../../../src/observability/metrics.ts";
import { SimClock } from "../../support/sim-clock.ts";

function world(level = "debug") {
  const clock = new SimClock();
  const metrics = createMetrics();
  const lines: Record<string, unknown>[] = [];
  const write = (line: string) => void lines.push(JSON.parse(line));
  const log = createLog({ level, format: "json", clock, write });
  return { clock, metrics, lines, events: new Events({ metrics, log, clock }) };
}

const OBJECT = { bucket: "bkt", key: "k" };

type Case = readonly [
  name: string,
  act: (events: Events) => void,
  line: Readonly<Record<string, unknown>>,
  counted: string | undefined,
];

const cases: readonly Case[] = [
  [
    "an invalidation",
    (events) => events.invalidated({ scope: "object", ...OBJECT, entries: 1 }),
    { level: "debug", module: "cache", message: "invalidated", scope: "object", entries: 1 },
    'tag_cache_invalidations_total{scope="object"} 1',
  ],
  [
    "a stored fill",
    (events) => events.fillCommitted(OBJECT, 5),
    { level: "debug", module: "cache", bucket: "bkt", key: "k", bytes: 5 },
    'tag_cache_fills_total{outcome="committed"} 1',
  ],
  [
    "a fill a write overtook",
    (events) => events.fillRefused(OBJECT),
    { level: "debug", module: "cache" },
    'tag_cache_fills_total{outcome="refused"} 1',
  ],
  [
    "a failed fill",
    (events) => events.fillFailed(OBJECT, "wrong_length"),
    { level: "warn", module: "cache", reason: "wrong_length" },
    'tag_cache_fills_total{outcome="failed"} 1',
  ],
  [
    "an answer not stored",
    (events) => events.populateSkipped(OBJECT, "too_large"),
    { level: "debug", module: "cache", reason: "too_large" },
    'tag_cache_populate_skipped_total{reason="too_large"} 1',
  ],
  [
    "a slow consumer",
    (events) => events.slowConsumerCut(77, OBJECT),
    { level: "warn", module: "coalesce", lagging_bytes: 77, bucket: "bkt" },
    "tag_broadcast_slow_consumers_total 1",
  ],
  [
    "a stale copy",
    (events) => events.staleServed(OBJECT, "timeout", 61_400),
    { level: "warn", module: "cache", reason: "timeout", age_s: 61 },
    'tag_stale_served_total{reason="timeout"} 1',
  ],
  [
    "a damaged entry",
    (events) => events.entryDamaged(OBJECT, "checksum"),
    { level: "warn", module: "store", reason: "checksum" },
    undefined,
  ],
  [
    "learned keys",
    (events) => events.keyLearned("tid_client_1234", 2),
    { level: "debug", module: "auth", access_key: "…1234", count: 2 },
    "tag_proxy_signing_keys_received_total 1",
  ],
  [
    "unreadable keys",
    (events) => events.keyUnreadable("tid_client_1234", "decryption"),
    { level: "warn", module: "auth", access_key: "…1234" },
    undefined,
  ],
  [
    "a learned grant",
    (events) => events.grantLearned("tid_client_1234", "bkt"),
    { level: "debug", module: "auth", bucket: "bkt", access_key: "…1234" },
    undefined,
  ],
  [
    "a revoked grant",
    (events) => events.grantRevoked("tid_client_1234", "bkt"),
    { level: "info", module: "auth", bucket: "bkt", access_key: "…1234" },
    "tag_grants_revoked_total 1",
  ],
  [
    "a refused signature",
    (events) => events.authRefused("signature_mismatch", "REQ1", "tid_client_1234"),
    { level: "warn", module: "auth", id: "REQ1", access_key: "…1234" },
    'tag_auth_failures_total{reason="signature_mismatch"} 1',
  ],
  [
    "a shed request",
    (events) => events.requestShed("REQ1"),
    { level: "warn", module: "gateway", id: "REQ1" },
    "tag_admission_shed_total 1",
  ],
  [
    "an upstream failure",
    (events) =>
      events.upstreamFailed("GET", new GatewayError("upstream_reset", "broke off"), "REQ1"),
    { level: "warn", module: "upstream", error: "broke off", code: "upstream_reset", id: "REQ1" },
    'tag_upstream_errors_total{method="GET"} 1',
  ],
  [
    "a store in trouble",
    (events) => events.storeDegraded("ENOSPC"),
    { level: "error", module: "store", reason: "ENOSPC" },
    undefined,
  ],
  [
    "a store out of trouble",
    (events) => events.storeRecovered(),
    { level: "info", module: "store" },
    undefined,
  ],
  [
    "an unplanned end of a request",
    (events) => events.requestFailed("REQ1", new TypeError("oops")),
    { level: "error", module: "gateway", id: "REQ1", error: "oops" },
    'tag_errors_total{code="unexpected"} 1',
  ],
  [
    "a failed task",
    (events) => events.taskFailed("evict", new Error("oops")),
    { level: "error", module: "app", task: "evict" },
    'tag_task_failures_total{task="evict"} 1',
  ],
];

describe("an event", () => {
  test.each(cases)("speaks and counts: %s", async (_name, act, line, counted) => {
    const { events, lines, metrics } = world();
    act(events);
    expect(lines).toHaveLength(1);
    expect(lines[0]).toMatchObject(line);
    if (counted !== undefined) expect(await metrics.text()).toContain(`${counted}\n`);
  });

  test.each(cases)("counts although its level is off: %s", async (_name, act, line, counted) => {
    const { events, lines, metrics } = world("error");
    act(events);
    expect(lines).toHaveLength(line["level"] === "error" ? 1 : 0);
    if (counted !== undefined) expect(await metrics.text()).toContain(`${counted}\n`);
  });

  test("never writes an access key in full", () => {
    const { events, lines } = world();
    for (const [, act] of cases) act(events);
    expect(JSON.stringify(lines)).not.toContain("tid_client");
  });
});

describe("a flood of one event", () => {
  test("fills ten lines, counts all, and says later how many were left out", async () => {
    const { clock, events, lines, metrics } = world("info");
    for (let index = 0; index < 1000; index += 1) events.requestShed(`REQ${index}`);
    expect(lines).toHaveLength(10);
    await clock.run(clock.sleep(10_000));
    events.requestShed("later");
    expect(lines).toHaveLength(11);
    expect(lines[10]).toMatchObject({ id: "later", suppressed: 990 });
    const text = await metrics.text();
    expect(text).toContain("tag_admission_shed_total 1001\n");
    expect(text).toContain("tag_log_lines_suppressed_total 990\n");
  });

  test("does not silence another event", () => {
    const { events, lines } = world("info");
    for (let index = 0; index < 50; index += 1) events.requestShed("x");
    events.grantRevoked("tid_client_1234", "bkt");
    expect(lines).toHaveLength(11);
  });

  test("is written whole at level debug", () => {
    const { events, lines } = world("debug");
    for (let index = 0; index < 50; index += 1) events.fillCommitted(OBJECT, index);
    expect(lines).toHaveLength(50);
  });
});
