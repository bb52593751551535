/**
 * Objects for a `ScriptedUpstream`: GET and HEAD with ranges, validators, versions and
 * permissions, and Tigris's part of the proxy protocol (signing keys handed out sealed).
 *
 * It is an oracle, not a product: signatures and sealing are written here once more on node:crypto,
 * from the specification (tag-behaviour 4.3 to 4.6), and share no code with the gateway.
 * Every refusal is remembered with its reason, so a test can demand that there was none.
 */

import { createCipheriv, createHash, createHmac, randomBytes } from "node:crypto";
import {
  sendAnswer,
  type Pattern,
  type Answer,
  type Call,
  type RecordedRequest,
  type Script,
  type ScriptedUpstream,
} from "./scripted-upstream.ts";

export interface S3Object {
  readonly sizeBytes: number;
  readonly etag: string;
  readonly lastModified: string;
  /** End-to-end fields beside ETag, Last-Modified and framing, in the order they are sent. */
  readonly headers: readonly string[];
  readonly isPublic: boolean;
  /** The bytes of `[start, end)`. */
  slice(start: number, end: number): Iterable<Uint8Array>;
}

export interface ObjectOptions {
  readonly headers?: readonly string[];
  readonly etag?: string;
  readonly lastModified?: string;
  readonly isPublic?: boolean;
}

export interface ScriptedS3Options {
  /** The gateway's own pair; with it, keys are handed out as Tigris does. */
  readonly proxyAccess?: { readonly accessKeyId: string; readonly secretKey: string };
}

interface Client {
  readonly secretKey: string;
  readonly buckets: Set<string>;
}

const XML = ["Content-Type", "application/xml"];

export class ScriptedS3 {
  /** Why requests were refused with 403, in order. */
  readonly refusals: string[] = [];
  /** Slows or stops bodies; see `Answer.beforePiece`. */
  beforePiece: ((index: number, offsetBytes: number) => void | Promise<void>) | undefined;
  /** Waited for before each response header. */
  beforeHead: ((request: RecordedRequest) => void | Promise<void>) | undefined;
  pieceBytes = 64 * 1024;
  readonly #proxyAccess: ScriptedS3Options["proxyAccess"];
  readonly #objects = new Map<string, S3Object>();
  readonly #clients = new Map<string, Client>();

  constructor(upstream: ScriptedUpstream, options: ScriptedS3Options = {}) {
    this.#proxyAccess = options.proxyAccess;
    upstream.otherwise(this.script);
  }

  /** Stores bytes under a bucket and a decoded key. */
  put(
    bucket: string,
    key: string,
    body: string | Uint8Array,
    options: ObjectOptions = {},
  ): S3Object {
    const bytes = typeof body === "string" ? Buffer.from(body) : Buffer.from(body);
    const md5 = createHash("md5").update(bytes).digest("hex");
    return this.#store(bucket, key, {
      ...withDefaults(options, md5),
      sizeBytes: bytes.length,
      slice: (start, end) => [bytes.subarray(start, end)],
    });
  }

  /** Stores an object of any size that is made up as it is sent. */
  putPattern(
    bucket: string,
    key: string,
    pattern: Pattern,
    sizeBytes: number,
    options: ObjectOptions = {},
  ): S3Object {
    return this.#store(bucket, key, {
      ...withDefaults(options, createHash("md5").update(`${key} ${sizeBytes}`).digest("hex")),
      sizeBytes,
      slice: (start, end) => pattern.slice(start, end),
    });
  }

  delete(bucket: string, key: string): void {
    this.#objects.delete(`/${bucket}/${key}`);
  }

  /** Makes a key pair known, with the buckets it may use. */
  allow(accessKeyId: string, secretKey: string, ...buckets: readonly string[]): void {
    const client = this.#clients.get(accessKeyId);
    for (const bucket of buckets) client?.buckets.add(bucket);
    this.#clients.set(accessKeyId, client ?? { secretKey, buckets: new Set(buckets) });
  }

  deny(accessKeyId: string, bucket: string): void {
    this.#clients.get(accessKeyId)?.buckets.delete(bucket);
  }

  /** The script that answers as this store; installed as the upstream's `otherwise`. */
  readonly script: Script = async (call) => {
    await call.readBody();
    await this.beforeHead?.(call.request);
    await sendAnswer(call, this.answerTo(call));
  };

  /** What this store would answer; for scripts that only change a detail. */
  answerTo(call: Call): Answer {
    const { request } = call;
    const [rawPath, rawQuery] = split(request.target, "?");
    const path = decode(rawPath).toString("utf8");
    const bucket = path.split("/")[1] ?? "";
    const key = path.slice(bucket.length + 2);
    const claim = claimOf(request, rawQuery);
    const object = this.#objects.get(`/${bucket}/${key}`);

    const refusal = this.#refusal(request, rawPath, rawQuery, claim, bucket, object);
    if (refusal !== undefined) {
      this.refusals.push(`${request.method} ${request.target}: ${refusal}`);
      return error(403, refusal);
    }
    const learned = claim === undefined ? [] : this.#sealedKeys(claim);
    const answer = this.#operation(request, rawQuery, bucket, key, object);
    const isSuccess = (answer.status ?? 200) < 300;
    return { ...answer, headers: [...(answer.headers ?? []), ...(isSuccess ? learned : [])] };
  }

  #store(bucket: string, key: string, object: S3Object): S3Object {
    this.#objects.set(`/${bucket}/${key}`, object);
    return object;
  }

  #operation(
    request: RecordedRequest,
    rawQuery: string,
    bucket: string,
    key: string,
    object: S3Object | undefined,
  ): Answer {
    switch (request.method) {
      case "GET":
      case "HEAD":
        if (key === "") return { headers: XML, body: "<ListBucketResult/>" };
        return object === undefined
          ? error(404, "NoSuchKey")
          : this.#read(request, new URLSearchParams(rawQuery), object);
      case "PUT": {
        const stored = this.put(bucket, key, request.body);
        return { headers: ["ETag", stored.etag] };
      }
      case "DELETE":
        this.delete(bucket, key);
        return { status: 204, framing: "none" };
      default:
        return error(405, "MethodNotAllowed");
    }
  }

  #read(request: RecordedRequest, query: URLSearchParams, object: S3Object): Answer {
    const { etag, lastModified, sizeBytes } = object;
    const validators = ["ETag", etag, "Last-Modified", lastModified];
    const ifMatch = request.field("if-match");
    if (ifMatch !== undefined && !matchesTag(ifMatch, etag, true)) {
      return error(412, "PreconditionFailed");
    }
    const ifNoneMatch = request.field("if-none-match");
    const since = request.field("if-modified-since");
    const isUnchanged =
      ifNoneMatch === undefined
        ? since !== undefined && Date.parse(lastModified) <= Date.parse(since)
        : matchesTag(ifNoneMatch, etag);
    if (isUnchanged)
      return { status: 304, reason: "Not Modified", headers: validators, framing: "none" };

    let headers = [...validators, "Accept-Ranges", "bytes", ...object.headers];
    for (const [name, value] of query) {
      const overridden = /^response-(.+)$/.exec(name)?.[1];
      if (overridden === undefined) continue;
      headers = headers.filter(
        (_, at) => (headers[at - (at % 2)] ?? "").toLowerCase() !== overridden,
      );
      headers.push(overridden, value);
    }
    if (query.has("versionId")) headers.push("x-amz-version-id", query.get("versionId") ?? "");

    const range = rangeOf(request.field("range"), sizeBytes);
    if (range === "unsatisfiable") {
      return {
        ...error(416, "InvalidRange"),
        headers: [...XML, "Content-Range", `bytes */${sizeBytes}`],
      };
    }
    const shared = {
      pieceBytes: this.pieceBytes,
      beforePiece: this.beforePiece ?? (() => undefined),
    };
    if (range === undefined) {
      return { ...shared, headers, body: object.slice(0, sizeBytes), sizeBytes };
    }
    const [start, end] = range;
    headers.push("Content-Range", `bytes ${start}-${end - 1}/${sizeBytes}`);
    return {
      ...shared,
      status: 206,
      reason: "Partial Content",
      headers,
      body: object.slice(start, end),
      sizeBytes: end - start,
    };
  }

  // ── Who may do what ─────────────────────────────────────────────────────────────────

  #refusal(
    request: RecordedRequest,
    rawPath: string,
    rawQuery: string,
    claim: Claim | undefined,
    bucket: string,
    object: S3Object | undefined,
  ): string | undefined {
    const broken = this.#brokenProxyIdentity(request, rawPath);
    if (broken !== undefined) return broken;
    if (claim === undefined) return object?.isPublic === true ? undefined : "AccessDenied";
    const client = this.#clients.get(claim.accessKeyId);
    if (client === undefined) {
      // The gateway's own requests are signed with its own pair and may read everything.
      const own = this.#proxyAccess;
      if (own === undefined || claim.accessKeyId !== own.accessKeyId) return "InvalidAccessKeyId";
      return verify(request, rawPath, rawQuery, claim, own.secretKey)
        ? undefined
        : "SignatureDoesNotMatch";
    }
    if (!verify(request, rawPath, rawQuery, claim, client.secretKey))
      return "SignatureDoesNotMatch";
    return client.buckets.has(bucket) ? undefined : "AccessDenied";
  }

  /** tag-behaviour 4.6: who forwards must prove who they are. */
  #brokenProxyIdentity(request: RecordedRequest, rawPath: string): string | undefined {
    const given = request.field("x-tigris-proxy-signature");
    if (given === undefined) return undefined;
    const own = this.#proxyAccess;
    const host = request.field("x-tigris-forwarded-host") ?? "";
    const timestamp = request.field("x-tigris-proxy-timestamp") ?? "";
    if (own === undefined || request.field("x-tigris-proxy-access-key") !== own.accessKeyId) {
      return "UnknownProxy";
    }
    const path = decode(rawPath).toString("utf8");
    const expected = createHmac("sha256", own.secretKey)
      .update(`${host}\n${timestamp}\n${request.method}\n${path}`)
      .digest("hex");
    return given === expected ? undefined : "ProxySignatureDoesNotMatch";
  }

  /** tag-behaviour 4.5: the client's derived keys, sealed for the gateway. */
  #sealedKeys(claim: Claim): string[] {
    const client = this.#clients.get(claim.accessKeyId);
    if (client === undefined || this.#proxyAccess === undefined) return [];
    const { date, region } = claim;
    const key = deriveKey(client.secretKey, date, region).toString("hex");
    const text = JSON.stringify([{ date, region, key }]);
    const nonce = randomBytes(12);
    const cipher = createCipheriv(
      "aes-256-gcm",
      createHash("sha256").update(this.#proxyAccess.secretKey).digest(),
      nonce,
    );
    cipher.setAAD(Buffer.from(claim.accessKeyId));
    const sealed = Buffer.concat([nonce, cipher.update(text), cipher.final(), cipher.getAuthTag()]);
    return ["X-Tigris-Proxy-Signing-Keys", sealed.toString("base64")];
  }
}

function withDefaults(options: ObjectOptions, md5: string) {
  return {
    etag: options.etag ?? `"${md5}"`,
    lastModified: options.lastModified ?? "Thu, 01 Jan 2026 00:00:00 GMT",
    headers: options.headers ?? ["Content-Type", "application/octet-stream"],
    isPublic: options.isPublic ?? false,
  };
}

function error(status: number, code: string): Answer {
  const body = `<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>${code}</Code><Message>${code}</Message></Error>`;
  return { status, reason: code, headers: XML, body };
}

/** RFC 9110 §8.8.3.2: weakly, a tag and its `W/` twin are the same. */
function matchesTag(list: string, etag: string, isStrong = false): boolean {
  if (list.trim() === "*") return true;
  const seen = (tag: string) => (isStrong ? tag.trim() : tag.trim().replace(/^W\//, ""));
  return list.split(",").some((tag) => seen(tag) === seen(etag));
}

/** `[start, end)`, undefined for the whole object. */
function rangeOf(
  header: string | undefined,
  sizeBytes: number,
): readonly [number, number] | "unsatisfiable" | undefined {
  const match = /^bytes=(\d*)-(\d*)$/.exec(header ?? "");
  if (match === null) return undefined;
  const [, first = "", last = ""] = match;
  if (first === "" && last === "") return undefined;
  if (first === "") {
    const suffixBytes = Math.min(sizeBytes, Number(last));
    return suffixBytes === 0 ? "unsatisfiable" : [sizeBytes - suffixBytes, sizeBytes];
  }
  const start = Number(first);
  if (last !== "" && Number(last) < start) return undefined;
  if (start >= sizeBytes) return "unsatisfiable";
  return [start, last === "" ? sizeBytes : Math.min(sizeBytes, Number(last) + 1)];
}

// ── Signature Version 4, as the specification tells it ─────────────────────────────────

export interface Claim {
  readonly accessKeyId: string;
  readonly date: string;
  readonly region: string;
  readonly timestamp: string;
  readonly signedHeaders: readonly string[];
  readonly signature: string;
  readonly payloadHash: string;
  readonly isPresigned: boolean;
}

export function claimOf(request: RecordedRequest, rawQuery: string): Claim | undefined {
  const authorization = request.field("authorization");
  const query = new URLSearchParams(rawQuery.replaceAll("+", "%2B"));
  const isPresigned = authorization === undefined;
  if (isPresigned && !query.has("X-Amz-Credential")) return undefined;
  const part = (name: string) =>
    new RegExp(`${name}=([^,\\s]+)`).exec(authorization ?? "")?.[1] ?? "";
  const credential = isPresigned ? (query.get("X-Amz-Credential") ?? "") : part("Credential");
  const [accessKeyId = "", date = "", region = ""] = credential.split("/");
  return {
    accessKeyId,
    date,
    region,
    timestamp: (isPresigned ? query.get("X-Amz-Date") : request.field("x-amz-date")) ?? "",
    signedHeaders: (isPresigned
      ? (query.get("X-Amz-SignedHeaders") ?? "")
      : part("SignedHeaders")
    ).split(";"),
    signature: isPresigned ? (query.get("X-Amz-Signature") ?? "") : part("Signature"),
    payloadHash: request.field("x-amz-content-sha256") ?? "UNSIGNED-PAYLOAD",
    isPresigned,
  };
}

/** Exported for its own test against the published vectors. */
export function verify(
  request: RecordedRequest,
  rawPath: string,
  rawQuery: string,
  claim: Claim,
  secretKey: string,
): boolean {
  const headers = claim.signedHeaders.map((name) => {
    const values = request.headers
      .filter((_, at) => at % 2 === 1 && request.headers[at - 1]?.toLowerCase() === name)
      .map((value) => value.trim().replaceAll(/ +/g, " "));
    const forwarded = name === "host" ? request.field("x-tigris-forwarded-host") : undefined;
    return `${name}:${forwarded ?? values.join(",")}\n`;
  });
  const query = rawQuery
    .split("&")
    .filter((pair) => pair !== "" && !(claim.isPresigned && pair.startsWith("X-Amz-Signature=")))
    .map((pair) => split(pair, "=").map((text) => encode(decode(text), false)))
    .toSorted(([nameA = "", valueA = ""], [nameB = "", valueB = ""]) =>
      nameA === nameB ? Number(valueA > valueB) * 2 - 1 : Number(nameA > nameB) * 2 - 1,
    )
    .map(([name, value]) => `${name}=${value}`);
  const canonical = [
    request.method,
    encode(decode(rawPath), true),
    query.join("&"),
    headers.join(""),
    claim.signedHeaders.join(";"),
    claim.payloadHash,
  ].join("\n");
  const text = [
    "AWS4-HMAC-SHA256",
    claim.timestamp,
    `${claim.date}/${claim.region}/s3/aws4_request`,
    createHash("sha256").update(canonical, "utf8").digest("hex"),
  ].join("\n");
  const key = deriveKey(secretKey, claim.date, claim.region);
  return createHmac("sha256", key).update(text).digest("hex") === claim.signature;
}

function deriveKey(secretKey: string, date: string, region: string): Buffer {
  let key = Buffer.from(`AWS4${secretKey}`);
  for (const part of [date, region, "s3", "aws4_request"]) {
    key = createHmac("sha256", key).update(part).digest();
  }
  return key;
}

/** Both sides of the first `mark`. */
function split(text: string, mark: string): [string, string] {
  const at = text.indexOf(mark);
  return at === -1 ? [text, ""] : [text.slice(0, at), text.slice(at + 1)];
}

function decode(text: string): Buffer {
  const latin1 = text.replaceAll(/%([\dA-Fa-f]{2})/g, (_, hex: string) =>
    String.fromCodePoint(Number.parseInt(hex, 16)),
  );
  return Buffer.from(latin1, "latin1");
}

function encode(bytes: Buffer, keepsSlash: boolean): string {
  let text = "";
  for (const byte of bytes) {
    const char = String.fromCodePoint(byte);
    const isPlain = /[\w.~-]/.test(char) || (keepsSlash && char === "/");
    text += isPlain ? char : `%${byte.toString(16).toUpperCase().padStart(2, "0")}`;
  }
  return text;
}
