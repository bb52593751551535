/**
 * The administrative routes: what changes the cache of a running server on an operator's word,
 * `POST /_/api/admin/cache/<action>`. They are for the tools of this very machine (`tag cache
 * purge` and its siblings) and not for the network.
 *
 * Who may call is settled by the file system: at its start a server writes a random token into
 * `admin.json` in its cache folder, readable by its own user alone, and takes it away when it
 * stops. A call must carry it and come from this machine. Everybody who could read the token
 * could as well edit the cache itself, so it gives nobody a right they did not have.
 *
 * What an action does comes from `AdminActions`; this file reads JSON, judges and answers.
 */

import { readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { readAll } from "../base/byte-source.ts";
import type { Random } from "../base/random.ts";
import type { Handler, Inbound, Reply } from "../http/exchange.ts";

/** What an operator may have done to a running cache. Answers become JSON as they are. */
export interface AdminActions {
  /** Drops everything whose key starts with `prefix`, and what running requests would store there. */
  purge(bucket: string, prefix: string): Promise<{ readonly entries: number }>;
  /** Keeps everything whose key starts with `prefix` from eviction. */
  pin(bucket: string, prefix: string): Promise<object>;
  /** Ends that; undefined when exactly this prefix is not pinned. */
  unpin(bucket: string, prefix: string): Promise<object | undefined>;
  /** Drops the bodies found damaged, if they still are what is stored. */
  verify(damaged: readonly DamagedBody[]): Promise<{ readonly dropped: number }>;
  /** Gives dead space back; ends early, with what is done done, when `signal` aborts. */
  compact(signal: AbortSignal): Promise<object>;
}

/** A body by the name the store gave it; it may have been replaced since it was found. */
export interface DamagedBody {
  readonly bucket: string;
  readonly key: string;
  readonly version: number;
}

const PATH = "/_/api/admin/";
/** Many damaged bodies are sent in several calls. */
const BODY_BYTES_MAX = 1024 * 1024;
const TOKEN_BYTES = 32;
const FILE_NAME = "admin.json";

/** Whether a request is for these routes. Never throws. */
export function isAdministrative({ rawTarget }: Pick<Inbound, "rawTarget">): boolean {
  return rawTarget.startsWith(PATH);
}

export interface AdminOptions {
  /** What `Authorization: Bearer` must carry. */
  readonly token: string;
  /** The address the server listens on; a caller on that very address is this machine, too. */
  readonly bindIp: string;
  readonly actions: AdminActions;
}

/** A handler for the requests `isAdministrative` claims. */
export function createAdmin({ token, bindIp, actions }: AdminOptions): Handler {
  const expected = digestOf(token);
  return async (inbound) => {
    const isLocal = isLoopback(inbound.remoteAddress) || inbound.remoteAddress === bindIp;
    if (!isLocal || !isSameDigest(digestOf(bearerOf(inbound)), expected)) {
      // One answer for all: a stranger learns neither what there is nor why not.
      return answer(inbound, 401, { error: "unauthorized" }, ["WWW-Authenticate", "Bearer"]);
    }
    if (inbound.method !== "POST") {
      return answer(inbound, 405, { error: "method_not_allowed" }, ["Allow", "POST"]);
    }
    const input = await readInput(inbound);
    if (input === undefined) return answer(inbound, 400, { error: "bad_request" });
    const path = inbound.rawTarget.slice(PATH.length);
    switch (path) {
      case "cache/purge":
      case "cache/pin":
      case "cache/unpin": {
        const target = targetOf(input);
        if (target === undefined) return answer(inbound, 400, { error: "bad_request" });
        const action = ACTION_OF[path];
        const report = await actions[action](target.bucket, target.prefix);
        return answer(inbound, 200, report ?? { isPinned: false });
      }
      case "cache/verify": {
        const damaged = damagedOf(input["damaged"]);
        if (damaged === undefined) return answer(inbound, 400, { error: "bad_request" });
        return answer(inbound, 200, await actions.verify(damaged));
      }
      case "cache/compact":
        return answer(inbound, 200, await actions.compact(inbound.signal));
      default:
        return answer(inbound, 404, { error: "not_found" });
    }
  };
}

// ---- the file ----------------------------------------------------------------

/** How to reach the server that has a cache folder open. */
export interface AdminAccess {
  /** The S3 port, as bound. */
  readonly port: number;
  readonly token: string;
}

/** A token nobody can guess. */
export function newAdminToken(random: Random): string {
  return Buffer.from(random.bytes(TOKEN_BYTES)).toString("base64url");
}

/** Leaves word of how to reach this server, for its own user alone. Throws what the disk says. */
export function writeAdminAccess(folder: string, access: AdminAccess): void {
  const path = join(folder, FILE_NAME);
  const draft = `${path}.new`;
  // A mode counts only for a file that is made, so one left by a killed process has to go.
  rmSync(draft, { force: true });
  writeFileSync(draft, `${JSON.stringify(access)}\n`, { mode: 0o600, flag: "wx" });
  renameSync(draft, path);
}

/** Takes it away again. Never throws: what is left behind names a server that does not answer. */
export function removeAdminAccess(folder: string): void {
  try {
    rmSync(join(folder, FILE_NAME), { force: true });
  } catch {
    // See above.
  }
}

/** What the running server left; undefined when there is none, or nothing readable by us. */
export function readAdminAccess(folder: string): AdminAccess | undefined {
  try {
    const { port, token } = JSON.parse(readFileSync(join(folder, FILE_NAME), "utf8")) as {
      readonly port?: unknown;
      readonly token?: unknown;
    };
    return typeof port === "number" && typeof token === "string" ? { port, token } : undefined;
  } catch {
    return undefined;
  }
}

// ---- reading and answering ---------------------------------------------------

function bearerOf({ fields }: Inbound): string {
  return /^Bearer +(\S+)$/i.exec(fields.get("authorization") ?? "")?.[1] ?? "";
}

function digestOf(text: string): Uint8Array {
  return new Bun.CryptoHasher("sha256").update(text).digest();
}

/** In constant time; comparing digests hides the length as well. */
function isSameDigest(left: Uint8Array, right: Uint8Array): boolean {
  let difference = left.length ^ right.length;
  for (const [at, byte] of left.entries()) difference |= byte ^ (right[at] ?? 0);
  return difference === 0;
}

function isLoopback(address: string): boolean {
  return address === "::1" || /^(?:::ffff:)?127\./i.test(address);
}

/** The JSON object a call carries, an empty one when it carries nothing; undefined when it is none. */
async function readInput({ body }: Inbound): Promise<Record<string, unknown> | undefined> {
  try {
    const bytes = body === null ? new Uint8Array(0) : await readAll(body, BODY_BYTES_MAX);
    if (bytes.length === 0) return {};
    const input: unknown = JSON.parse(new TextDecoder().decode(bytes));
    const isObject = typeof input === "object" && input !== null && !Array.isArray(input);
    return isObject ? (input as Record<string, unknown>) : undefined;
  } catch {
    return undefined; // too long, cut off, or no JSON
  }
}

const ACTION_OF = {
  "cache/purge": "purge",
  "cache/pin": "pin",
  "cache/unpin": "unpin",
} as const;

function targetOf({ bucket, prefix = "" }: Record<string, unknown>) {
  const isTarget = typeof bucket === "string" && bucket !== "" && typeof prefix === "string";
  return isTarget ? { bucket, prefix } : undefined;
}

function damagedOf(input: unknown): readonly DamagedBody[] | undefined {
  if (!Array.isArray(input)) return undefined;
  const bodies = (input as unknown[]).map((item) => {
    const { bucket, key, version } = (item ?? {}) as Partial<Record<keyof DamagedBody, unknown>>;
    return typeof bucket === "string" && typeof key === "string" && typeof version === "number"
      ? { bucket, key, version }
      : undefined;
  });
  return bodies.every((body) => body !== undefined) ? bodies : undefined;
}

function answer(
  inbound: Inbound,
  status: number,
  content: object,
  headers: readonly string[] = [],
): Reply {
  return {
    status,
    headers: [
      "x-amz-request-id",
      inbound.id,
      "Content-Type",
      "application/json",
      "Cache-Control",
      "no-store",
      ...headers,
    ],
    body: { kind: "bytes", bytes: new TextEncoder().encode(JSON.stringify(content)) },
  };
}
