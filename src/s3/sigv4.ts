/**
 * AWS Signature Version 4 for S3: reading a signature off a request, checking it,
 * and making one (as header fields or as a presigned URL).
 *
 * Pure and synchronous: the time is an argument, and nothing is kept but readings of texts.
 * Whose key it is, whether the moment is right and what a mismatch means to the
 * client is left to auth/ (gateway) and origin/ (dev origin), which share this file
 * with the tests.
 *
 * The S3 dialect differs from the general algorithm in the path: it is encoded once
 * and never normalised, so `//`, `.` and `..` stay (S3 API Reference, "Signature
 * Calculations for the Authorization Header"). Header values are byte strings, one
 * char per byte, as an HTTP server hands them out.
 */

import { LruMap } from "../base/lru.ts";
import { formatAmzDate, parseAmzDate, parseHttpDate } from "../http/date.ts";
import { Fields, withField } from "../http/fields.ts";
import type { RawHeaders } from "../http/fields.ts";
import {
  decodePercent,
  encodePath,
  encodeQueryComponent,
  parseRawTarget,
  queryValue,
} from "../http/raw-target.ts";
import type { QueryParam, RawTarget } from "../http/raw-target.ts";

/** The only algorithm that is checked; SigV4A (`AWS4-ECDSA-P256-SHA256`) is told apart, not verified. */
export const ALGORITHM = "AWS4-HMAC-SHA256";
/** Payload hash of a request whose body no signature covers. */
export const UNSIGNED_PAYLOAD = "UNSIGNED-PAYLOAD";
/** Hex SHA-256 of no bytes. */
export const EMPTY_SHA256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
/** How far a request's date may be from our clock, either way. S3 answers RequestTimeTooSkewed beyond. */
export const MAX_SKEW_MS = 15 * 60_000;
/** Longest life of a presigned URL: seven days. */
export const MAX_EXPIRES_SECONDS = 604_800;

/** More signed headers than any client sends; bounds the work a hostile request can cause. */
const MAX_SIGNED_HEADERS = 128;

/** What a request says about who signed it. A statement, not yet a fact. */
export interface SignatureClaim {
  readonly form: "header" | "presigned";
  readonly accessKeyId: string;
  /** `YYYYMMDD` of the credential scope. */
  readonly date: string;
  readonly region: string;
  readonly service: string;
  /** Lower case, in the client's order. */
  readonly signedHeaders: readonly string[];
  /** The same joined by `;`. */
  readonly signedHeaderList: string;
  /** `date/region/service/aws4_request`. */
  readonly scope: string;
  /** The scope behind the key id. */
  readonly credential: string;
  /** 64 lower-case hex digits. */
  readonly signature: string;
  /** When the client says it signed, `YYYYMMDDTHHMMSSZ`. */
  readonly timestamp: string;
  /** The same as Unix milliseconds. */
  readonly signedAtMs: number;
  /** Life of a presigned URL from `signedAtMs`, in seconds; undefined in header form. */
  readonly expiresSeconds: number | undefined;
  /** `x-amz-content-sha256` as sent; `UNSIGNED-PAYLOAD` for a presigned URL that names none. */
  readonly payloadHash: string;
  readonly sessionToken: string | undefined;
}

/** The S3 error a strict server answers to credentials it cannot read. */
export type MalformedCode =
  | "AuthorizationHeaderMalformed"
  | "AuthorizationQueryParametersError"
  | "AccessDenied"
  | "InvalidArgument";

export type Authorization =
  | { readonly kind: "signed"; readonly claim: SignatureClaim }
  /** Nothing in the request looks like a credential. */
  | { readonly kind: "anonymous" }
  /** Credentials of a scheme we do not check: SigV2, SigV4A, bearer tokens, cookies. */
  | { readonly kind: "unsupported"; readonly scheme: string }
  /** SigV4 by its looks, but not readable. */
  | { readonly kind: "malformed"; readonly code: MalformedCode; readonly because: string };

/**
 * Query parameters and fields that carry credentials of schemes other than SigV4.
 * A success of such a request proves nothing about what anybody may read, so it must
 * never count as anonymous (tag-behaviour 15.2.10).
 */
const TOKEN_PARAMETERS: ReadonlySet<string> = new Set([
  "awsaccesskeyid",
  "signature",
  "expires",
  "key-pair-id",
  "googleaccessid",
  "token",
  "access_token",
  "id_token",
  "api_key",
  "apikey",
  "auth",
  "authorization",
  "jwt",
  "sig",
]);
const TOKEN_PARAMETER_PREFIXES = /^x-(?:amz|goog|tigris)-/;
const TOKEN_FIELDS = ["cookie", "x-amz-security-token", "x-auth-token", "proxy-authorization"];

/**
 * Reads the credentials of a request: `Authorization` header or presigned query.
 * Never throws; checks neither time nor signature.
 */
export function parseAuthorization(fields: Fields, target: RawTarget): Authorization {
  const header = fields.get("authorization");
  if (header !== undefined && header !== "") return parseHeaderForm(header, fields, target);
  if (target.query.length > 0) {
    if (hasParameter(target, "X-Amz-Algorithm") || hasParameter(target, "X-Amz-Credential")) {
      return parseQueryForm(fields, target);
    }
    for (const { name } of target.query) {
      const lower = name.toLowerCase();
      if (TOKEN_PARAMETERS.has(lower) || TOKEN_PARAMETER_PREFIXES.test(lower)) {
        return { kind: "unsupported", scheme: `query parameter ${lower}` };
      }
    }
  }
  for (const field of TOKEN_FIELDS) {
    if (fields.has(field)) return { kind: "unsupported", scheme: field };
  }
  return { kind: "anonymous" };
}

function parseHeaderForm(header: string, fields: Fields, target: RawTarget): Authorization {
  if (!/^AWS4-HMAC-SHA256[ \t,]/.test(header)) {
    return { kind: "unsupported", scheme: /^[!-~]{0,40}/.exec(header)?.[0] ?? "" };
  }
  if (fields.isRepeated("authorization")) {
    return malformed("AuthorizationHeaderMalformed", "more than one Authorization header");
  }
  if (hasParameter(target, "X-Amz-Signature") || hasParameter(target, "Signature")) {
    return malformed("InvalidArgument", "only one authentication mechanism is allowed");
  }

  return assembleClaim("AuthorizationHeaderMalformed", {
    form: "header",
    signer: signerOf(header),
    signature: partOf(header, "Signature="),
    date: fields.get("x-amz-date") ?? fields.get("date") ?? "",
    expires: undefined,
    payloadHash: fields.get("x-amz-content-sha256") ?? "",
    sessionToken: fields.get("x-amz-security-token"),
  });
}

/**
 * Who signed and what, as far as the header says it before its signature. Clients put the signature
 * last, so all that comes before it is the same text for a day: reading that once is 0.8 µs less per
 * request.
 */
function signerOf(header: string): SignerText | Malformed {
  const signatureAt = header.indexOf("Signature=");
  const isLast = signatureAt !== -1 && !header.includes(",", signatureAt);
  const text = isLast ? header.slice(0, signatureAt) : header;
  const known = isLast ? knownSigners.get(text) : undefined;
  if (known !== undefined) return known;
  const signer = readSigner(
    "AuthorizationHeaderMalformed",
    partOf(text, "Credential="),
    partOf(text, "SignedHeaders="),
  );
  if (isLast && !isMalformed(signer)) knownSigners.set(text, signer, 1);
  return signer;
}

/** What was read last; nothing but what the text itself says. */
const knownSigners = new LruMap<string, SignerText>(1000);

/** The text from behind `name` to the next comma; order and spacing of the parts do not matter. */
function partOf(header: string, name: string): string | undefined {
  const at = header.indexOf(name);
  if (at === -1) return undefined;
  const comma = header.indexOf(",", at);
  return header.slice(at + name.length, comma === -1 ? undefined : comma).trim();
}

function parseQueryForm(fields: Fields, target: RawTarget): Authorization {
  const algorithm = queryValue(target, "X-Amz-Algorithm");
  if (algorithm !== undefined && algorithm !== ALGORITHM) {
    return { kind: "unsupported", scheme: algorithm.slice(0, 40) };
  }
  if (algorithm === undefined) {
    return malformed("AuthorizationQueryParametersError", "X-Amz-Algorithm is missing");
  }
  // A parameter given twice would let the signer and us read different values.
  for (const name of PRESIGNED_PARAMETERS) {
    if (target.query.filter((param) => param.name === name).length > 1) {
      return malformed("AuthorizationQueryParametersError", `${name} is repeated`);
    }
  }
  return assembleClaim("AuthorizationQueryParametersError", {
    form: "presigned",
    signer: readSigner(
      "AuthorizationQueryParametersError",
      queryValue(target, "X-Amz-Credential"),
      queryValue(target, "X-Amz-SignedHeaders"),
    ),
    signature: queryValue(target, "X-Amz-Signature"),
    date: queryValue(target, "X-Amz-Date") ?? "",
    expires: queryValue(target, "X-Amz-Expires") ?? "",
    payloadHash: presignedPayloadHash(fields, target),
    sessionToken: queryValue(target, "X-Amz-Security-Token"),
  });
}

/** The hash a presigned URL was signed with: named in the URL, in a signed field, or the constant. */
function presignedPayloadHash(fields: Fields, target: RawTarget): string {
  const inQuery = queryValue(target, "X-Amz-Content-Sha256");
  if (inQuery !== undefined) return inQuery;
  const signed = queryValue(target, "X-Amz-SignedHeaders")?.toLowerCase().split(";") ?? [];
  if (!signed.includes("x-amz-content-sha256")) return UNSIGNED_PAYLOAD;
  return fields.get("x-amz-content-sha256") ?? UNSIGNED_PAYLOAD;
}

/** The query parameters that belong to a presigned URL's signature and to nothing else. */
export const PRESIGNED_PARAMETERS: readonly string[] = [
  "X-Amz-Algorithm",
  "X-Amz-Credential",
  "X-Amz-Date",
  "X-Amz-Expires",
  "X-Amz-SignedHeaders",
  "X-Amz-Signature",
  "X-Amz-Security-Token",
  "X-Amz-Content-Sha256",
];

interface ClaimText {
  readonly form: "header" | "presigned";
  readonly signer: SignerText | Malformed;
  readonly signature: string | undefined;
  readonly date: string;
  readonly expires: string | undefined;
  readonly payloadHash: string;
  readonly sessionToken: string | undefined;
}

// Greedy in front, so it is read from the right: an access key id may contain slashes, a scope cannot.
const CREDENTIAL = /^(.+)\/(\d{8})\/([^/]*)\/([^/]+)\/aws4_request$/;
const SIGNATURE = /^[0-9a-f]{64}$/;

/** The part of a claim that does not change from request to request. */
interface SignerText {
  readonly accessKeyId: string;
  readonly date: string;
  readonly region: string;
  readonly service: string;
  readonly signedHeaders: readonly string[];
  readonly signedHeaderList: string;
  readonly scope: string;
  readonly credential: string;
}

function readSigner(
  code: MalformedCode,
  credential: string | undefined,
  signedHeaders: string | undefined,
): SignerText | Malformed {
  if (credential === undefined) return malformed(code, "the credential is missing");
  if (signedHeaders === undefined) return malformed(code, "the list of signed headers is missing");
  const [, accessKeyId, date, region, service] = CREDENTIAL.exec(credential) ?? [];
  if (
    accessKeyId === undefined ||
    date === undefined ||
    region === undefined ||
    service === undefined
  ) {
    return malformed(code, "the credential is not <key id>/<date>/<region>/s3/aws4_request");
  }
  const signedHeaderList = signedHeaders.toLowerCase();
  const names = signedHeaderList.split(";");
  if (names.length > MAX_SIGNED_HEADERS) return malformed(code, "too many signed headers");
  // Twice the same field would let a small list stand for a huge canonical request.
  if (hasDuplicate(names)) return malformed(code, "a header is signed twice");
  if (!names.includes("host")) return malformed(code, "the host header is not signed");
  const scope = scopeText({ date, region, service });
  return {
    accessKeyId,
    date,
    region,
    service,
    signedHeaders: names,
    signedHeaderList,
    scope,
    credential,
  };
}

function assembleClaim(code: MalformedCode, text: ClaimText): Authorization {
  const { signer, signature } = text;
  if (isMalformed(signer)) return signer;
  if (signature === undefined) return malformed(code, "the signature is missing");
  if (!SIGNATURE.test(signature)) {
    return malformed(code, "the signature is not 64 lower-case hex digits");
  }
  const { accessKeyId, date, region, service } = signer;
  const { signedHeaders, signedHeaderList, scope, credential } = signer;

  const compactMs = parseAmzDate(text.date);
  const signedAtMs = compactMs ?? (text.form === "header" ? parseHttpDate(text.date) : undefined);
  if (signedAtMs === undefined) {
    return malformed(
      text.form === "header" ? "AccessDenied" : code,
      "a valid date is required: x-amz-date, or in the header form Date",
    );
  }
  const timestamp = compactMs === undefined ? formatAmzDate(signedAtMs) : text.date;
  if (!timestamp.startsWith(date)) {
    return malformed(code, "the date of the credential is not the date of the request");
  }

  // S3 wants the body's hash named in every signed header, even for a request without body.
  if (text.payloadHash === "") return malformed(code, "x-amz-content-sha256 is missing");

  let expiresSeconds: number | undefined;
  if (text.expires !== undefined) {
    if (!/^-?\d{1,12}$/.test(text.expires)) {
      return malformed(code, "X-Amz-Expires must be a number of seconds");
    }
    expiresSeconds = Number(text.expires);
    // A URL that is valid at no moment, or for longer than any may be, is denied like one that has
    // expired: so does Ceph. (AWS calls it malformed, for a client the same.)
    if (expiresSeconds < 1 || expiresSeconds > MAX_EXPIRES_SECONDS) {
      return malformed("AccessDenied", "X-Amz-Expires must be between 1 and 604800 seconds");
    }
  }
  return {
    kind: "signed",
    claim: {
      form: text.form,
      accessKeyId,
      date,
      region,
      service,
      signedHeaders,
      signedHeaderList,
      scope,
      credential,
      signature,
      timestamp,
      signedAtMs,
      expiresSeconds,
      payloadHash: text.payloadHash,
      sessionToken: text.sessionToken,
    },
  };
}

/** Sorted lists, which is what clients send, are decided without a set. */
function hasDuplicate(names: readonly string[]): boolean {
  for (let at = 1; at < names.length; at += 1) {
    if ((names[at - 1] ?? "") >= (names[at] ?? "")) return new Set(names).size < names.length;
  }
  return false;
}

type Malformed = Extract<Authorization, { readonly kind: "malformed" }>;

function isMalformed(result: SignerText | Malformed): result is Malformed {
  return "kind" in result;
}

function malformed(code: MalformedCode, because: string): Malformed {
  return { kind: "malformed", code, because };
}

function hasParameter(target: RawTarget, name: string): boolean {
  return queryValue(target, name) !== undefined;
}

/**
 * Whether the claim's moment is acceptable at `nowMs`: within 15 minutes either way in
 * header form; from 15 minutes before it was signed to the end of its life when
 * presigned.
 */
export function judgeTime(claim: SignatureClaim, nowMs: number): "valid" | "skewed" | "expired" {
  if (claim.signedAtMs - nowMs > MAX_SKEW_MS) return "skewed";
  const ageMs = nowMs - claim.signedAtMs;
  if (claim.expiresSeconds === undefined) return ageMs > MAX_SKEW_MS ? "skewed" : "valid";
  return ageMs > claim.expiresSeconds * 1000 ? "expired" : "valid";
}

/**
 * Names of `x-amz-*` fields that are present and not covered by the signature. S3
 * refuses such a request ("There were headers present in the request which were not
 * signed"): whoever holds a presigned URL could otherwise add a copy source or an ACL.
 * The two fields whose values the string to sign contains anyway are left out.
 */
export function unsignedAmzFields(claim: SignatureClaim, fields: Fields): string[] {
  return fields.namesWith("x-amz-", claim.signedHeaders).filter(isNotInStringToSign);
}

function isNotInStringToSign(lowerName: string): boolean {
  return lowerName !== "x-amz-content-sha256" && lowerName !== "x-amz-date";
}

/** A derived signing key with its HMAC state prepared: one signature costs one `copy()`. */
export class SigningKey {
  /** The 32 key bytes. */
  readonly bytes: Uint8Array;
  readonly #hmac: Bun.CryptoHasher;

  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
    this.#hmac = new Bun.CryptoHasher("sha256", bytes);
  }

  /** Hex HMAC-SHA256 of an ASCII text. */
  sign(text: string): string {
    return this.#hmac.copy().update(text).digest("hex");
  }
}

/** The key of one day, region and service, derived from a secret access key (32 bytes). */
export function deriveSigningKey(
  secretAccessKey: string,
  date: string,
  region: string,
  service = "s3",
): Uint8Array {
  let key: Uint8Array | string = `AWS4${secretAccessKey}`;
  for (const part of [date, region, service, "aws4_request"]) key = hmac(key, part);
  return key as Uint8Array;
}

function hmac(key: Uint8Array | string, text: string): Uint8Array {
  return new Bun.CryptoHasher("sha256", key).update(text).digest();
}

/** Hex HMAC-SHA256 of a string to sign under a derived key. */
export function signatureOf(key: SigningKey | Uint8Array, text: string): string {
  return (key instanceof SigningKey ? key : new SigningKey(key)).sign(text);
}

/** `date/region/service/aws4_request`. */
export function scopeText(scope: {
  readonly date: string;
  readonly region: string;
  readonly service: string;
}): string {
  return `${scope.date}/${scope.region}/${scope.service}/aws4_request`;
}

/**
 * `key id/date/region/s3/aws4_request`, as requests name a key. Unambiguous: neither a date nor a region holds
 * a slash.
 */
export function credentialText(key: {
  readonly accessKeyId: string;
  readonly date: string;
  readonly region: string;
}): string {
  return `${key.accessKeyId}/${key.date}/${key.region}/s3/aws4_request`;
}

/** What a signature covers; every part already in canonical form. */
export interface CanonicalParts {
  readonly method: string;
  readonly path: string;
  readonly query: string;
  /** `name:value\n` for each signed header. */
  readonly headers: string;
  /** The names joined by `;`. */
  readonly signedHeaders: string;
  readonly payloadHash: string;
}

/** The canonical request, a byte string. */
export function canonicalRequest(parts: CanonicalParts): string {
  return `${parts.method}\n${parts.path}\n${parts.query}\n${parts.headers}\n${parts.signedHeaders}\n${parts.payloadHash}`;
}

/** The string to sign for a canonical request. */
export function stringToSign(timestamp: string, scope: string, canonical: string): string {
  return `${ALGORITHM}\n${timestamp}\n${scope}\n${sha256Hex(canonical)}`;
}

/** Hex SHA-256 of a byte string (one char per byte; ASCII for all but exotic headers). */
function sha256Hex(bytes: string): string {
  return isAscii(bytes)
    ? Bun.SHA256.hash(bytes, "hex")
    : Bun.SHA256.hash(Buffer.from(bytes, "latin1"), "hex");
}

function isAscii(text: string): boolean {
  // eslint-disable-next-line no-control-regex -- all of ASCII is meant, controls included
  return !/[^\x00-\x7f]/.test(text);
}

/** The canonical query: every parameter encoded and sorted by name, then value; `flag` becomes `flag=`. */
export function canonicalQuery(query: readonly QueryParam[], without?: string): string {
  return sortedQuery(query, without, encodedByRule);
}

function encodedByRule(param: QueryParam): readonly [string, string] {
  return [encodeQueryComponent(param.name), encodeQueryComponent(param.value)];
}

function sortedQuery(
  query: readonly QueryParam[],
  without: string | undefined,
  encode: (param: QueryParam) => readonly [string, string],
): string {
  if (query.length === 0) return "";
  const pairs: (readonly [string, string])[] = [];
  for (const param of query) if (param.name !== without) pairs.push(encode(param));
  // By name first: comparing whole pairs would order "a-b=" before "a=".
  pairs.sort((left, right) => compare(left[0], right[0]) || compare(left[1], right[1]));
  let text = "";
  for (const [name, value] of pairs) {
    text += text === "" ? `${name}=${value}` : `&${name}=${value}`;
  }
  return text;
}

function compare(left: string, right: string): number {
  if (left === right) return 0;
  return left < right ? -1 : 1;
}

/**
 * The canonical block of the named fields: repeats joined by ",", surrounding white
 * space removed, inner runs collapsed to one space; an absent field has an empty value.
 */
export function canonicalHeaders(fields: Fields, signedHeaders: readonly string[]): string {
  let text = "";
  for (const name of signedHeaders) {
    const value = fields.isRepeated(name)
      ? fields.all(name).map(trimAll).join(",")
      : trimAll(fields.get(name) ?? "");
    text = `${text}${name}:${value}\n`;
  }
  return text;
}

function trimAll(value: string): string {
  const trimmed = value.trim();
  if (!trimmed.includes(" ") && !trimmed.includes("\t")) return trimmed;
  return trimmed.replace(/[ \t]+/g, " ");
}

export interface SignedRequest {
  readonly method: string;
  readonly target: RawTarget;
  readonly fields: Fields;
}

/**
 * Whether the claim's signature over this request was made with `key`; constant time
 * in the signature. The key's scope must be the claim's. Time is not judged here.
 *
 * Clients disagree on spelling, and S3 is generous, so a first mismatch is followed by
 * the other spellings of the very same request: the path exactly as sent (clients that
 * signed their own encoding), "+" in a query standing for a space, header bytes signed
 * as Latin-1 text. All of them bind the signer to this target.
 */
export function verifySignature(
  claim: SignatureClaim,
  request: SignedRequest,
  key: SigningKey,
): boolean {
  const parts = {
    method: request.method,
    path: encodePath(request.target.path),
    query: canonicalQuery(request.target.query, unsignedParameter(claim)),
    headers: canonicalHeaders(request.fields, claim.signedHeaders),
    signedHeaders: claim.signedHeaderList,
    payloadHash: claim.payloadHash,
  };
  return isSignatureOf(claim, parts, key) || isSignatureOfSpelling(claim, parts, request, key);
}

/** Every parameter of a presigned URL is signed but this one. */
function unsignedParameter(claim: SignatureClaim): string | undefined {
  return claim.form === "presigned" ? "X-Amz-Signature" : undefined;
}

function isSignatureOf(claim: SignatureClaim, parts: CanonicalParts, key: SigningKey): boolean {
  const { timestamp, scope, signature } = claim;
  const canonical = canonicalRequest(parts);
  if (isSame(key.sign(stringToSign(timestamp, scope, canonical)), signature)) return true;
  if (isAscii(canonical)) return false;
  const hash = Bun.SHA256.hash(canonical, "hex"); // hashed as UTF-8: bytes taken for characters
  return isSame(key.sign(`${ALGORITHM}\n${timestamp}\n${scope}\n${hash}`), signature);
}

/** The other spellings of path and query. */
function isSignatureOfSpelling(
  claim: SignatureClaim,
  parts: CanonicalParts,
  { target }: SignedRequest,
  key: SigningKey,
): boolean {
  const without = unsignedParameter(claim);
  const paths = new Set([parts.path, target.rawPath]);
  const queries = new Set([parts.query]);
  if (target.rawQuery.includes("+")) {
    queries.add(sortedQuery(target.query, without, encodedPlusAsSpace));
  }
  queries.add(sortedQuery(target.query, without, (param) => [param.rawName, param.rawValue]));
  for (const path of paths) {
    for (const query of queries) {
      if (path === parts.path && query === parts.query) continue;
      if (isSignatureOf(claim, { ...parts, path, query }, key)) return true;
    }
  }
  return false;
}

function encodedPlusAsSpace(param: QueryParam): readonly [string, string] {
  const encode = (raw: string, decoded: string): string =>
    encodeQueryComponent(
      raw.includes("+") ? (decodePercent(raw.replaceAll("+", "%20")) ?? decoded) : decoded,
    );
  return [encode(param.rawName, param.name), encode(param.rawValue, param.value)];
}

/** Compares two hex signatures without telling by its duration where they differ. */
export function isSame(left: string, right: string): boolean {
  if (left.length !== right.length) return false;
  let difference = 0;
  for (let at = 0; at < left.length; at += 1) {
    difference |= left.charCodeAt(at) ^ right.charCodeAt(at);
  }
  return difference === 0;
}

/** Everything needed to sign in somebody's name, for one day and region. */
export interface Signer {
  readonly accessKeyId: string;
  /** `YYYYMMDD` (UTC) the key was derived for; requests can be dated within it only. */
  readonly date: string;
  readonly region: string;
  readonly key: SigningKey;
  readonly sessionToken?: string | undefined;
}

export interface KeyPair {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly sessionToken?: string | undefined;
}

/** A signer for the day of `nowMs`. Derives a key (four HMACs): keep it while the date lasts. */
export function signerFor(pair: KeyPair, region: string, nowMs: number): Signer {
  const date = formatAmzDate(nowMs).slice(0, 8);
  return {
    accessKeyId: pair.accessKeyId,
    date,
    region,
    key: new SigningKey(deriveSigningKey(pair.secretAccessKey, date, region)),
    sessionToken: pair.sessionToken,
  };
}

export interface RequestToSign {
  readonly method: string;
  /** Raw path and query as they will be sent. */
  readonly rawTarget: string;
  /** As they will be sent, `Host` included; dates, hashes and credentials are replaced. */
  readonly headers: RawHeaders;
  /** Hex SHA-256 of the body, `UNSIGNED-PAYLOAD` or a `STREAMING-…` constant. */
  readonly payloadHash: string;
}

/** What S3 wants covered, and nothing a proxy on the way might rewrite. */
function mustSign(lowerName: string): boolean {
  return (
    lowerName === "host" ||
    lowerName === "content-type" ||
    lowerName === "content-md5" ||
    lowerName.startsWith("x-amz-")
  );
}

/**
 * The headers of a request with a header-form signature added: `X-Amz-Date`,
 * `X-Amz-Content-Sha256`, `X-Amz-Security-Token` if there is one, `Authorization`.
 * The signature covers these, `Host`, `Content-Type`, `Content-MD5` and all `x-amz-*`.
 *
 * @param signedAtMs date of the request; must be in the signer's day. Throws a
 *   RangeError when it is not, or when the target is not in origin form.
 */
export function signRequest(request: RequestToSign, signer: Signer, signedAtMs: number): string[] {
  const timestamp = timestampWithin(signer, signedAtMs);
  const target = parsedTarget(request.rawTarget);
  let headers = withField(request.headers, "X-Amz-Date", timestamp);
  headers = withField(headers, "X-Amz-Content-Sha256", request.payloadHash);
  if (signer.sessionToken !== undefined) {
    headers = withField(headers, "X-Amz-Security-Token", signer.sessionToken);
  }
  const fields = new Fields(headers);
  const signedHeaders = [...fields.names()].filter(mustSign).toSorted();
  const scope = scopeText({ date: signer.date, region: signer.region, service: "s3" });
  const canonical = canonicalRequest({
    method: request.method,
    path: encodePath(target.path),
    query: canonicalQuery(target.query),
    headers: canonicalHeaders(fields, signedHeaders),
    signedHeaders: signedHeaders.join(";"),
    payloadHash: request.payloadHash,
  });
  const signature = signer.key.sign(stringToSign(timestamp, scope, canonical));
  return withField(
    headers,
    "Authorization",
    `${ALGORITHM} Credential=${signer.accessKeyId}/${scope}, SignedHeaders=${signedHeaders.join(";")}, Signature=${signature}`,
  );
}

export interface UrlToPresign {
  readonly method: string;
  /** Raw path and query; the signature's parameters are appended to the query. */
  readonly rawTarget: string;
  /** Signed and therefore required when the URL is used; `Host` must be among them. */
  readonly headers: RawHeaders;
  /** Life of the URL from `signedAtMs`, 1 to 604 800 seconds. */
  readonly expiresSeconds: number;
}

/** The raw target of a presigned URL; the body stays unsigned. Throws like `signRequest`. */
export function presign(request: UrlToPresign, signer: Signer, signedAtMs: number): string {
  const timestamp = timestampWithin(signer, signedAtMs);
  const fields = new Fields(request.headers);
  const signedHeaders = [...fields.names()].toSorted();
  const scope = scopeText({ date: signer.date, region: signer.region, service: "s3" });
  const parameters: [string, string][] = [
    ["X-Amz-Algorithm", ALGORITHM],
    ["X-Amz-Credential", `${signer.accessKeyId}/${scope}`],
    ["X-Amz-Date", timestamp],
    ["X-Amz-Expires", String(request.expiresSeconds)],
    ["X-Amz-SignedHeaders", signedHeaders.join(";")],
  ];
  if (signer.sessionToken !== undefined) {
    parameters.push(["X-Amz-Security-Token", signer.sessionToken]);
  }
  const added = parameters
    .map(([name, value]) => `${name}=${encodeQueryComponent(value)}`)
    .join("&");
  const separator = request.rawTarget.includes("?") ? "&" : "?";
  const unsigned = `${request.rawTarget}${separator}${added}`;
  const target = parsedTarget(unsigned);
  const canonical = canonicalRequest({
    method: request.method,
    path: encodePath(target.path),
    query: canonicalQuery(target.query),
    headers: canonicalHeaders(fields, signedHeaders),
    signedHeaders: signedHeaders.join(";"),
    payloadHash: UNSIGNED_PAYLOAD,
  });
  const signature = signer.key.sign(stringToSign(timestamp, scope, canonical));
  return `${unsigned}&X-Amz-Signature=${signature}`;
}

function timestampWithin(signer: Signer, signedAtMs: number): string {
  const timestamp = formatAmzDate(signedAtMs);
  if (timestamp.startsWith(signer.date)) return timestamp;
  throw new RangeError(`a key of ${signer.date} cannot sign at ${timestamp}`);
}

function parsedTarget(rawTarget: string): RawTarget {
  const target = parseRawTarget(rawTarget);
  if (target === undefined) throw new RangeError("the request target is not in origin form");
  return target;
}
