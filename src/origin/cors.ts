/**
 * CORS rules of a bucket: which pages of other origins may read its answers.
 *
 * S3 answers a request whether a rule admits it or not; a rule only adds the fields without
 * which a browser keeps the answer from the page. A preflight is granted or refused. The
 * first rule that fits counts ("Using cross-origin resource sharing", S3 User Guide;
 * Fetch standard, CORS protocol).
 */

import type { Inbound } from "../http/exchange.ts";
import type { Fields } from "../http/fields.ts";
import { isS3Error, type S3Error, s3Error } from "../s3/error.ts";
import { children, childText, parseXml, type XmlContent, type XmlNode } from "../s3/xml.ts";
import { type Answer, type BucketCall, emptyReply, type OriginParts, xmlReply } from "./call.ts";
import { receiveText } from "./receive-body.ts";
import type { BucketRecord, CorsRule } from "./records.ts";

const RULES_MAX = 100;
const METHODS: ReadonlySet<string> = new Set(["GET", "PUT", "POST", "DELETE", "HEAD"]);

export function getBucketCors(call: BucketCall): Answer {
  const { name, cors } = call.bucket;
  if (cors === undefined) {
    return s3Error("NoSuchCORSConfiguration", { details: { BucketName: name } });
  }
  return xmlReply("CORSConfiguration", { CORSRule: cors.map(elementsOf) });
}

export async function putBucketCors(call: BucketCall, { store }: OriginParts): Promise<Answer> {
  const text = await receiveText(call);
  if (isS3Error(text)) return text;
  const cors = parseCors(text);
  if (isS3Error(cors)) return cors;
  const bucket = store.catalog.bucket(call.bucket.name);
  if (bucket === undefined) return s3Error("NoSuchBucket");
  store.catalog.putBucket({ ...bucket, cors });
  return emptyReply(200);
}

export function deleteBucketCors(call: BucketCall, { store }: OriginParts): Answer {
  store.catalog.putBucket({ ...call.bucket, cors: undefined });
  return emptyReply(204);
}

/** Answers OPTIONS: what the browser may send from that page, or that it may not. */
export function answerPreflight(inbound: Inbound, bucket: BucketRecord): Answer {
  const { fields } = inbound;
  if (!fields.has("origin")) {
    return s3Error("InvalidRequest", {
      message: "Insufficient information. Origin request header needed.",
    });
  }
  const method = fields.get("access-control-request-method");
  if (method === undefined || !METHODS.has(method)) {
    return s3Error("InvalidRequest", {
      message: `Invalid Access-Control-Request-Method: ${method ?? "null"}`,
    });
  }
  if (bucket.cors === undefined) {
    return s3Error("AccessForbidden", {
      message: "CORSResponse: CORS is not enabled for this bucket.",
    });
  }
  const granted = corsFields(inbound, bucket);
  if (granted.length === 0) return s3Error("AccessForbidden");
  const asked = fields.get("access-control-request-headers");
  const headers = asked === undefined ? [] : ["Access-Control-Allow-Headers", asked.toLowerCase()];
  return emptyReply(200, headers);
}

/** The fields that admit the page a request comes from; none when it is not a page's or no rule fits. */
export function corsFields(inbound: Inbound, { cors = [] }: BucketRecord): string[] {
  const { fields } = inbound;
  const origin = fields.get("origin");
  if (origin === undefined) return [];
  const method = fields.get("access-control-request-method") ?? inbound.method;
  const asked = requestedHeaders(fields);
  const rule = cors.find(
    ({ methods, origins, headers }) =>
      methods.includes(method) &&
      origins.some((pattern) => fits(origin, pattern)) &&
      asked.every((name) => headers.some((pattern) => fits(name, pattern.toLowerCase()))),
  );
  if (rule === undefined) return [];
  const isForAll = rule.origins.includes("*");
  const admitted = ["Access-Control-Allow-Origin", isForAll ? "*" : origin];
  admitted.push("Access-Control-Allow-Methods", rule.methods.join(", "));
  if (rule.exposed.length > 0) {
    admitted.push("Access-Control-Expose-Headers", rule.exposed.join(", "));
  }
  if (rule.maxAgeSeconds !== undefined) {
    admitted.push("Access-Control-Max-Age", String(rule.maxAgeSeconds));
  }
  if (!isForAll) admitted.push("Access-Control-Allow-Credentials", "true");
  admitted.push("Vary", "Origin, Access-Control-Request-Headers, Access-Control-Request-Method");
  return admitted;
}

function requestedHeaders(fields: Fields): readonly string[] {
  const list = fields.get("access-control-request-headers") ?? "";
  return list
    .toLowerCase()
    .split(",")
    .map((name) => name.trim())
    .filter((name) => name !== "");
}

/** Whether `text` is `pattern`, in which one `*` stands for anything. */
function fits(text: string, pattern: string): boolean {
  const star = pattern.indexOf("*");
  if (star < 0) return text === pattern;
  const [head, tail] = [pattern.slice(0, star), pattern.slice(star + 1)];
  return text.length >= head.length + tail.length && text.startsWith(head) && text.endsWith(tail);
}

function parseCors(text: string): readonly CorsRule[] | S3Error {
  const document = parseXml(text);
  if (document?.root !== "CORSConfiguration") return s3Error("MalformedXML");
  const rules: CorsRule[] = [];
  for (const element of children(document.content, "CORSRule")) {
    const rule = parseRule(element);
    if (isS3Error(rule)) return rule;
    rules.push(rule);
  }
  return rules.length > 0 && rules.length <= RULES_MAX ? rules : s3Error("MalformedXML");
}

function parseRule(element: XmlNode): CorsRule | S3Error {
  const texts = (name: string): string[] =>
    children(element, name).map((value) => (typeof value === "string" ? value : ""));
  const methods = texts("AllowedMethod");
  const origins = texts("AllowedOrigin");
  const headers = texts("AllowedHeader");
  const maxAge = childText(element, "MaxAgeSeconds");
  if (methods.length === 0 || origins.length === 0) return s3Error("MalformedXML");
  if (maxAge !== undefined && !/^\d{1,9}$/.test(maxAge)) return s3Error("MalformedXML");
  const unknown = methods.find((method) => !METHODS.has(method));
  if (unknown !== undefined) {
    return s3Error("InvalidRequest", {
      message: `Found unsupported HTTP method in CORS config. Unsupported method is ${unknown}`,
    });
  }
  for (const [kind, patterns] of [
    ["AllowedOrigin", origins],
    ["AllowedHeader", headers],
  ] as const) {
    const greedy = patterns.find((pattern) => pattern.split("*").length > 2);
    if (greedy !== undefined) {
      return s3Error("InvalidRequest", {
        message: `${kind} "${greedy}" can not have more than one wildcard.`,
      });
    }
  }
  return {
    id: childText(element, "ID"),
    methods,
    origins,
    headers,
    exposed: texts("ExposeHeader"),
    maxAgeSeconds: maxAge === undefined ? undefined : Number(maxAge),
  };
}

function elementsOf(rule: CorsRule): XmlContent {
  return {
    ID: rule.id,
    AllowedMethod: rule.methods,
    AllowedOrigin: rule.origins,
    AllowedHeader: rule.headers,
    ExposeHeader: rule.exposed,
    MaxAgeSeconds: rule.maxAgeSeconds,
  };
}
