import {
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  DeleteObjectCommand,
  GetObjectCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  S3Client as Sdk,
  UploadPartCommand,
  type CompletedPart,
} from "@aws-sdk/client-s3";

import { describeClient, DEV_PAIR, type S3Client } from "./suite.ts";

const PART_BYTES = 8 * 1024 * 1024;

describeClient({
  name: "AWS SDK for JavaScript",
  isInstalled: true,
  connect,
  cannotSend: {},
});

function connect(endpoint: string): S3Client {
  const sdk = new Sdk({ endpoint, region: "auto", credentials: DEV_PAIR, forcePathStyle: true });

  async function read(bucket: string, key: string, range?: string): Promise<Uint8Array> {
    const input = { Bucket: bucket, Key: key, ...(range === undefined ? {} : { Range: range }) };
    const { Body, ContentLength } = await sdk.send(new GetObjectCommand(input));
    const bytes = await Body?.transformToByteArray();
    if (bytes === undefined || bytes.length !== ContentLength) throw new Error("wrong length");
    return bytes;
  }

  return {
    async put(bucket, key, file) {
      const body = await Bun.file(file).bytes();
      await sdk.send(new PutObjectCommand({ Bucket: bucket, Key: key, Body: body }));
    },
    async get(bucket, key, file) {
      await Bun.write(file, await read(bucket, key));
    },
    getRange: (bucket, key, start, end) => read(bucket, key, `bytes=${start}-${end - 1}`),
    async list(bucket, prefix) {
      const page = await sdk.send(new ListObjectsV2Command({ Bucket: bucket, Prefix: prefix }));
      return (page.Contents ?? []).map(({ Key }) => Key ?? "");
    },
    async putMultipart(bucket, key, file) {
      const object = { Bucket: bucket, Key: key };
      const body = await Bun.file(file).bytes();
      const { UploadId } = await sdk.send(new CreateMultipartUploadCommand(object));
      const parts: CompletedPart[] = [];
      for (let start = 0; start < body.length; start += PART_BYTES) {
        const PartNumber = parts.length + 1;
        const Body = body.subarray(start, start + PART_BYTES);
        const part = await sdk.send(
          new UploadPartCommand({ ...object, UploadId, PartNumber, Body }),
        );
        parts.push({ ...part, PartNumber });
      }
      const MultipartUpload = { Parts: parts };
      await sdk.send(new CompleteMultipartUploadCommand({ ...object, UploadId, MultipartUpload }));
    },
    async delete(bucket, key) {
      await sdk.send(new DeleteObjectCommand({ Bucket: bucket, Key: key }));
    },
    async close() {
      sdk.destroy();
    },
  };
}
