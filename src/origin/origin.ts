/**
 * The dev origin: an S3 server on a folder, for development, tests and demos.
 *
 * It is real where clients look (signatures, multipart, checksums, listings, errors)
 * and where data could be lost (atomic, durable writes), and it speaks Tigris's side
 * of the gateway protocol. It can be as far away, as slow and as faulty as a test
 * wants. It is not a production store: one process, one folder, no versions, no
 * replication, no quotas.
 *
 * This file is the door and wires the parts; a request's way is in pipeline.ts.
 */

import type { Clock } from "../base/clock.ts";
import type { Random } from "../base/random.ts";
import type { Handler } from "../http/exchange.ts";
import type { KeyPair } from "../s3/sigv4.ts";
import { Access } from "./access.ts";
import { type FaultRule, Faults, parseFaultRule } from "./faults.ts";
import { FolderStore } from "./folder-store.ts";
import { DEFAULT_CREDENTIALS, KeyRing, type OriginCredential, type Right } from "./key-ring.ts";
import { type OriginLog, Pipeline } from "./pipeline.ts";
import { RequestLog } from "./request-log.ts";

export { ALL_BUCKETS, DEFAULT_CREDENTIALS } from "./key-ring.ts";
export type { OriginCredential, Right } from "./key-ring.ts";
export { parseFaultRule } from "./faults.ts";
export type { OriginLog } from "./pipeline.ts";
export type { RequestLog, RequestRecord } from "./request-log.ts";

export interface OriginOptions {
  /** Folder of the data; made when it does not exist. One origin at a time serves a folder. */
  readonly root: string;
  /** Distance to simulate: every answer starts so much later. Default 0. */
  readonly latencyMs?: number | undefined;
  /** Bandwidth of one reply body; undefined: unlimited. */
  readonly bandwidthBytesPerSecond?: number | undefined;
  /** Rules in the grammar of faults.ts, such as `status=503,key=tmp/*,count=2`. */
  readonly faults?: readonly string[] | undefined;
  /** Key pairs and their rights; `DEFAULT_CREDENTIALS` when undefined. */
  readonly credentials?: readonly OriginCredential[] | undefined;
  /** The key pair with which gateways prove themselves; generated when undefined. */
  readonly proxyAccess?: KeyPair | undefined;
  /** Host names before which a bucket may stand. Default: `localhost`. */
  readonly hosts?: readonly string[] | undefined;
  /** What GetBucketLocation answers. Default `auto`. */
  readonly region?: string | undefined;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: OriginLog;
}

export interface Origin {
  /** To be mounted behind a listener. */
  readonly handle: Handler;
  /** What has been asked so far. */
  readonly requests: RequestLog;
  /** The pair a gateway needs to speak the proxy protocol with this origin. */
  readonly proxyAccess: KeyPair;
  /** Lets a key do something in a bucket (or in `ALL_BUCKETS`) from now on. */
  grant(accessKeyId: string, bucket: string, right: Right): void;
  /** Takes one right away, or all in the bucket when `right` is undefined. */
  revoke(accessKeyId: string, bucket: string, right?: Right): void;
  /** Adds a fault rule behind the others. Throws a RangeError when it cannot be read. */
  addFault(rule: string): void;
  clearFaults(): void;
  /** Closes the catalog; call it when no request runs any more. */
  close(): void;
}

/**
 * Opens the folder and makes the server. Rejects when the folder cannot be used or
 * is served already, and with a RangeError for a fault rule that cannot be read.
 */
export async function createOrigin(options: OriginOptions): Promise<Origin> {
  const { clock, random } = options;
  const keyRing = new KeyRing(options.credentials ?? DEFAULT_CREDENTIALS);
  const proxyAccess = options.proxyAccess ?? generatedPair(random);
  const faults = new Faults((options.faults ?? []).map(readRule), random);
  const access = new Access({ keyRing, gateway: proxyAccess, clock, random });
  const requests = new RequestLog();
  const store = new FolderStore(options.root, random);
  const region = options.region ?? "auto";
  const pipeline = new Pipeline(
    {
      latencyMs: options.latencyMs ?? 0,
      bandwidthBytesPerSecond: options.bandwidthBytesPerSecond,
      hosts: options.hosts ?? ["localhost"],
      faults,
      requests,
      log: options.log,
    },
    { store, access, clock, random, region },
  );
  return {
    handle: (inbound) => pipeline.handle(inbound),
    requests,
    proxyAccess,
    grant: (accessKeyId, bucket, right) => keyRing.grant(accessKeyId, bucket, right),
    revoke: (accessKeyId, bucket, right) => keyRing.revoke(accessKeyId, bucket, right),
    addFault: (rule) => faults.add(readRule(rule)),
    clearFaults: () => faults.clear(),
    close: () => store.close(),
  };
}

function readRule(text: string): FaultRule {
  const rule = parseFaultRule(text);
  if (typeof rule === "string") throw new RangeError(rule);
  return rule;
}

function generatedPair(random: Random): KeyPair {
  const text = (count: number): string => Buffer.from(random.bytes(count)).toString("base64url");
  return { accessKeyId: `tid_${text(12)}`, secretAccessKey: `tsec_${text(30)}` };
}
