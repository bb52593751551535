/**
 * CompleteMultipartUpload: the list of parts is checked against what was uploaded,
 * their bytes are joined into one body file, and the object takes the place of the
 * upload in one step.
 *
 * Joining takes time, and meanwhile the upload may be aborted, completed by a second
 * request, or get a part replaced. A part file that has vanished is the sign of it:
 * joining stops and the upload's new state decides the answer.
 */

import { chunksOf } from "../base/byte-source.ts";
import {
  CHECKSUM_ALGORITHMS,
  checksumField,
  compositeChecksum,
  fullObjectChecksum,
} from "../s3/checksum.ts";
import { isS3Error, type S3Error, s3Error } from "../s3/error.ts";
import { type CompletedPart, parseCompleteRequest } from "../s3/xml.ts";
import type { BodyFiles } from "./body-files.ts";
import {
  type Answer,
  type ObjectCall,
  type OriginParts,
  parameter,
  quoted,
  xmlReply,
} from "./call.ts";
import { judgeWrite } from "./conditions.ts";
import { checksumElements } from "./description.ts";
import { PART_BYTES_MIN } from "./limits.ts";
import { openUpload } from "./multipart.ts";
import { receiveText } from "./receive-body.ts";
import type { PartRecord, StoredChecksum, UploadRecord } from "./records.ts";
import { fileSource } from "./reply-stream.ts";
import { publish } from "./write-object.ts";

export async function completeUpload(call: ObjectCall, parts: OriginParts): Promise<Answer> {
  const { catalog } = parts.store;
  const text = await receiveText(call, "object-checksum");
  if (isS3Error(text)) return text;
  const request = parseCompleteRequest(text);
  if (request === undefined) return s3Error("MalformedXML");
  const before = completedBefore(call, parts);
  if (before !== undefined) return before;
  const upload = openUpload(call, parts);
  if (isS3Error(upload)) return upload;
  const chosen = chooseParts(request.parts, catalog.parts(upload.id));
  if (isS3Error(chosen)) return chosen;
  const checksum = wholeChecksum(call, upload, chosen);
  if (isS3Error(checksum)) return checksum;
  const refused = judgeWrite(call, catalog.object(upload.bucket, upload.key));
  if (refused !== undefined) return refused;

  const body = await joinParts(parts.store.bodies, chosen);
  const ended = completedBefore(call, parts) ?? endedBefore(call, parts);
  if (body === undefined) return ended ?? s3Error("InvalidPart");
  if (ended !== undefined) {
    parts.store.bodies.remove(body);
    return ended;
  }
  const { fields, tags, acl, ownerId, storageClass } = upload;
  const published = publish(
    call,
    parts,
    {
      fields,
      tags,
      acl,
      ownerId,
      storageClass,
      key: upload.key,
      sizeBytes: sizeOf(chosen),
      etag: multipartEtag(chosen),
      modifiedAtMs: parts.clock.nowMs(),
      body,
      checksum,
      parts: chosen.map((part) => ({
        sizeBytes: part.sizeBytes,
        checksum: checksum === undefined ? undefined : part.checksum?.value,
      })),
    },
    (object) => catalog.completeUpload(upload, object),
  );
  return isS3Error(published) ? published : resultReply(call, published.etag, checksum);
}

/** The answer to a client that asks again because it missed the first one. */
function completedBefore(call: ObjectCall, { store }: OriginParts): Answer | undefined {
  const upload = store.catalog.upload(parameter(call, "uploadId"));
  const isThis = upload?.bucket === call.bucket.name && upload.key === call.key;
  if (!isThis || upload.completedEtag === undefined) return undefined;
  // The object may be another one by now; then its checksum is no part of this result.
  const object = store.catalog.object(upload.bucket, upload.key);
  const checksum = object?.etag === upload.completedEtag ? object.checksum : undefined;
  return resultReply(call, upload.completedEtag, checksum);
}

function endedBefore(call: ObjectCall, parts: OriginParts): S3Error | undefined {
  const upload = openUpload(call, parts);
  return isS3Error(upload) ? upload : undefined;
}

function sizeOf(chosen: readonly PartRecord[]): number {
  return chosen.reduce((sum, part) => sum + part.sizeBytes, 0);
}

function resultReply(call: ObjectCall, etag: string, checksum: StoredChecksum | undefined): Answer {
  const scheme = call.inbound.isSecure ? "https" : "http";
  const host = call.inbound.fields.get("host") ?? "";
  return xmlReply("CompleteMultipartUploadResult", {
    Location: `${scheme}://${host}${call.target.rawPath}`,
    Bucket: call.bucket.name,
    Key: call.key,
    ETag: quoted(etag),
    ...checksumElements(checksum),
  });
}

/** The uploaded parts the client names, in its order, which must be ascending. */
function chooseParts(
  named: readonly CompletedPart[],
  uploaded: readonly PartRecord[],
): readonly PartRecord[] | S3Error {
  const byNumber = new Map(uploaded.map((part) => [part.number, part]));
  const chosen: PartRecord[] = [];
  let lastNumber = 0;
  for (const { partNumber, etag, checksums } of named) {
    if (partNumber <= lastNumber) return s3Error("InvalidPartOrder");
    lastNumber = partNumber;
    const part = byNumber.get(partNumber);
    const isSame =
      part !== undefined &&
      part.etag === etag.replaceAll('"', "") &&
      Object.entries(checksums).every(
        ([name, value]) =>
          part.checksum !== undefined &&
          name === `Checksum${part.checksum.algorithm}` &&
          value === part.checksum.value,
      );
    if (!isSame) {
      return s3Error("InvalidPart", { details: { PartNumber: String(partNumber), ETag: etag } });
    }
    chosen.push(part);
  }
  const small = chosen.slice(0, -1).find((part) => part.sizeBytes < PART_BYTES_MIN);
  if (small !== undefined) {
    return s3Error("EntityTooSmall", {
      details: {
        ProposedSize: String(small.sizeBytes),
        MinSizeAllowed: String(PART_BYTES_MIN),
        PartNumber: String(small.number),
        ETag: small.etag,
      },
    });
  }
  return chosen;
}

/** The object's checksum out of those of its parts, and whether it is what the client says. */
function wholeChecksum(
  call: ObjectCall,
  upload: UploadRecord,
  chosen: readonly PartRecord[],
): StoredChecksum | S3Error | undefined {
  const { fields } = call.inbound;
  const sizeBytes = sizeOf(chosen);
  const saidBytes = fields.get("x-amz-mp-object-size");
  if (saidBytes !== undefined && saidBytes !== String(sizeBytes)) {
    return s3Error("InvalidRequest", {
      message: `The provided 'x-amz-mp-object-size' header value ${saidBytes} does not match what was computed: ${sizeBytes}`,
    });
  }
  if (upload.checksum === undefined) return undefined;
  const { algorithm, type } = upload.checksum;
  const saidType = fields.get("x-amz-checksum-type")?.toUpperCase();
  const other = CHECKSUM_ALGORITHMS.some(
    (candidate) => candidate !== algorithm && fields.has(checksumField(candidate)),
  );
  if (other || (saidType !== undefined && saidType !== type)) {
    return s3Error("InvalidRequest", {
      message: `The upload was created using the ${type} checksum mode of ${algorithm}. The complete request must use the same.`,
    });
  }
  const values = chosen.map((part) => ({
    checksum: part.checksum?.value ?? "",
    sizeBytes: part.sizeBytes,
  }));
  const value =
    type === "COMPOSITE"
      ? compositeChecksum(
          algorithm,
          values.map((part) => part.checksum),
        )
      : fullObjectChecksum(algorithm, values);
  if (value === undefined) return s3Error("InvalidPart");
  const said = fields.get(checksumField(algorithm));
  // A composite value may be sent with or without its number of parts.
  if (said !== undefined && said !== value && said !== value.split("-")[0]) {
    return s3Error("BadDigest", {
      message: `The ${algorithm} you specified did not match the calculated checksum.`,
    });
  }
  return { algorithm, type, value };
}

/** MD5 of the parts' MD5s, and how many there are: the ETag S3 gives a multipart object. */
export function multipartEtag(chosen: readonly { readonly etag: string }[]): string {
  const md5 = new Bun.CryptoHasher("md5");
  for (const part of chosen) md5.update(Buffer.from(part.etag, "hex"));
  return `${md5.digest("hex")}-${chosen.length}`;
}

/** Joins the parts into one durable body file; undefined when a part was gone before its turn. */
async function joinParts(
  bodies: BodyFiles,
  chosen: readonly PartRecord[],
): Promise<string | undefined> {
  const draft = await bodies.begin();
  let body: string | undefined;
  try {
    for (const part of chosen) {
      const file = bodies.open(part.body, { start: 0, end: part.sizeBytes });
      if (file === undefined) return undefined;
      for await (const chunk of chunksOf(fileSource(file))) await draft.write(chunk);
    }
    body = await draft.publish();
    return body;
  } finally {
    if (body === undefined) await draft.discard();
  }
}
