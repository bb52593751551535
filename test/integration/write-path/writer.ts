/**
 * A client that writes, byte by byte: bodies of any framing, signed by the oracle's own rules
 * (node:crypto through support/aws-chunked.ts for chunks), held back or broken off as a
 * test wants. The world it writes into is that of the read-path suite.
 */

import { createHash } from "node:crypto";
import { Fields } from "../../../src/http/fields.ts";
import {
  deriveSigningKey,
  presign,
  signerFor,
  signRequest,
  type KeyPair,
} from "../../../src/s3/sigv4.ts";
import { formatAmzDate } from "../../../src/http/date.ts";
import { chunkedBody } from "../../support/aws-chunked.ts";
import { WireClient, type WireHead } from "../../support/wire-client.ts";
import type { Answer, World } from "../read-path/world.ts";

export const ALICE: KeyPair = { accessKeyId: "tid_alice", secretAccessKey: "alice-secret" };

/** How the object is put into the request body. */
export type Coding =
  | "plain"
  | "sha256"
  | "signed-chunks"
  | "signed-chunks-trailer"
  | "unsigned-trailer";

export interface Write {
  readonly method: string;
  /** Encoded path and query. */
  readonly target: string;
  readonly headers?: readonly string[];
  readonly body?: string | Uint8Array;
  /** Added after signing. */
  readonly unsignedHeaders?: readonly string[];
  /** Default `plain`: the payload hash is waived. */
  readonly coding?: Coding;
  /** What `x-amz-content-sha256` says, when it is not what the coding calls for. */
  readonly payloadHash?: string;
  /** Data per aws-chunked chunk. */
  readonly chunkBytes?: number;
  /** Wrong signature of the second chunk, or wrong trailing checksum. */
  readonly damage?: "chunk" | "checksum";
  /** How HTTP frames it; `none` announces nothing. Default `length`, none without a body. */
  readonly framing?: "length" | "chunked" | "none";
  readonly pair?: KeyPair | undefined;
  /** `Host`, when it is to say more than where the gateway is. */
  readonly host?: string;
  readonly isUnsigned?: boolean;
  readonly isPresigned?: boolean;
}

/** A write on its way: the header is sent, the body is the test's to send. */
export interface OpenWrite extends AsyncDisposable {
  readonly wire: WireClient;
  /** The body as HTTP frames it. */
  readonly framed: Uint8Array;
  readonly interim: WireHead[];
  answer(): Promise<Answer>;
}

/** Sends the whole request and reads the answer. */
export async function send(world: World, write: Write): Promise<Answer> {
  await using open = await begin(world, write);
  await open.wire.send(open.framed);
  return await open.answer();
}

/** Sends the header only. */
export async function begin(world: World, write: Write): Promise<OpenWrite> {
  const { port, clock } = world;
  const { method, framing = write.body === undefined ? "none" : "length" } = write;
  const nowMs = clock.nowMs();
  const pair = write.pair ?? ALICE;
  const data = Buffer.from(write.body ?? "");
  const coding = write.coding ?? "plain";
  const codingFields = fieldsOf(coding, data);
  const lengthAt = ["Content-Length", ""];
  const headers = [
    "Host",
    write.host ?? `127.0.0.1:${port}`,
    ...(write.headers ?? []),
    ...codingFields.headers,
    ...(framing === "length" ? lengthAt : []),
    ...(framing === "chunked" ? ["Transfer-Encoding", "chunked"] : []),
  ];
  let target = write.target;
  let fields: readonly string[] = headers;
  let seedSignature = "";
  if (write.isUnsigned !== true) {
    const signer = signerFor(pair, "auto", nowMs);
    if (write.isPresigned === true) {
      const url = { method, rawTarget: target, headers: headers.slice(0, 2), expiresSeconds: 900 };
      target = presign(url, signer, nowMs);
    } else {
      const payloadHash = write.payloadHash ?? codingFields.payloadHash;
      // The length is not signed: it depends on the signature when chunks are.
      const unsigned = withoutLength(headers);
      const signed = signRequest(
        { method, rawTarget: target, headers: unsigned, payloadHash },
        signer,
        nowMs,
      );
      fields = framing === "length" ? [...signed, ...lengthAt] : signed;
      const authorization = new Fields(fields).get("authorization") ?? "";
      seedSignature = /Signature=([0-9a-f]+)/.exec(authorization)?.[1] ?? "";
    }
  }
  const coded = encode(write, coding, data, {
    key: deriveSigningKey(pair.secretAccessKey, formatAmzDate(nowMs).slice(0, 8), "auto", "s3"),
    seedSignature,
    timestamp: formatAmzDate(nowMs),
    scope: `${formatAmzDate(nowMs).slice(0, 8)}/auto/s3/aws4_request`,
  });
  let text = `${method} ${target} HTTP/1.1\r\n`;
  fields = [...fields, ...(write.unsignedHeaders ?? [])];
  for (let at = 0; at < fields.length; at += 2) {
    const value = fields[at] === "Content-Length" ? String(coded.length) : fields[at + 1];
    text += `${fields[at]}: ${value}\r\n`;
  }
  const wire = await WireClient.connect(port);
  await wire.send(`${text}Connection: close\r\n\r\n`);
  const interim: WireHead[] = [];
  return {
    wire,
    interim,
    framed: framing === "chunked" ? inOneChunk(coded) : coded,
    async answer() {
      const response = await wire.response(method, interim);
      const seen = new Fields(response.headers);
      return {
        status: response.status,
        fields: seen,
        xCache: seen.get("x-cache"),
        body: Buffer.from(response.body),
        isTruncated: response.isTruncated,
      };
    },
    [Symbol.asyncDispose]: () => wire[Symbol.asyncDispose](),
  };
}

function fieldsOf(coding: Coding, data: Uint8Array): { headers: string[]; payloadHash: string } {
  const chunked = [
    "Content-Encoding",
    "aws-chunked",
    "X-Amz-Decoded-Content-Length",
    `${data.length}`,
  ];
  const trailer = ["X-Amz-Trailer", "x-amz-checksum-crc32"];
  switch (coding) {
    case "plain":
      return { headers: [], payloadHash: "UNSIGNED-PAYLOAD" };
    case "sha256":
      return { headers: [], payloadHash: createHash("sha256").update(data).digest("hex") };
    case "signed-chunks":
      return { headers: chunked, payloadHash: "STREAMING-AWS4-HMAC-SHA256-PAYLOAD" };
    case "signed-chunks-trailer":
      return {
        headers: [...chunked, ...trailer],
        payloadHash: "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER",
      };
    case "unsigned-trailer":
      return {
        headers: [...chunked, ...trailer],
        payloadHash: "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
      };
  }
}

function encode(
  { damage, chunkBytes = 8192 }: Write,
  coding: Coding,
  data: Uint8Array,
  signing: NonNullable<Parameters<typeof chunkedBody>[0]["signing"]>,
): Uint8Array {
  if (coding === "plain" || coding === "sha256") return data;
  const chunks: Uint8Array[] = [];
  for (let at = 0; at < data.length; at += chunkBytes)
    chunks.push(data.subarray(at, at + chunkBytes));
  const checksum = crc32(damage === "checksum" ? Buffer.from("other bytes") : data);
  const coded = Buffer.from(
    chunkedBody({
      chunks,
      ...(coding === "unsigned-trailer" ? {} : { signing }),
      ...(coding === "signed-chunks" ? {} : { trailers: [["x-amz-checksum-crc32", checksum]] }),
    }),
  );
  if (damage === "chunk") {
    const second = coded.indexOf("chunk-signature=", coded.indexOf("chunk-signature=") + 1);
    coded.write("0000", second + "chunk-signature=".length);
  }
  return coded;
}

/** As `x-amz-checksum-crc32` has it. */
export function crc32(data: Uint8Array): string {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(Bun.hash.crc32(data));
  return bytes.toString("base64");
}

function withoutLength(headers: readonly string[]): string[] {
  return headers.filter((_, at) => headers[at - (at % 2)] !== "Content-Length");
}

function inOneChunk(bytes: Uint8Array): Uint8Array {
  const head = bytes.length === 0 ? "" : `${bytes.length.toString(16)}\r\n`;
  return Buffer.concat([
    Buffer.from(head),
    bytes,
    Buffer.from(bytes.length === 0 ? "0\r\n\r\n" : "\r\n0\r\n\r\n"),
  ]);
}
