// Goal: every key S3 allows can be written, read as a miss and read as a hit on the S3 port.
// Method: a client that sends exactly the bytes it signs (test/support/raw-client.ts); the SDKs
// change some of these keys on the way, which their own tests note.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { randomBytes } from "node:crypto";

import { AWKWARD_KEYS } from "../../support/awkward-keys.ts";
import { startBinary, type Program } from "../../support/binary.ts";
import { RawClient } from "../../support/raw-client.ts";
import { DEV_PAIR } from "./suite.ts";

const BUCKET = "raw";

describe("a client that sends what it signs, through the compiled binary", () => {
  let program: Program;
  let client: RawClient;

  beforeAll(async () => {
    program = await startBinary(["dev"]);
    client = new RawClient(program.endpoint, DEV_PAIR);
    expect((await client.call({ method: "PUT", rawTarget: `/${BUCKET}` })).status).toBe(200);
  });

  afterAll(() => program[Symbol.asyncDispose]());

  test.each(AWKWARD_KEYS)("reads a key with $name as MISS and then as HIT", async ({ key }) => {
    const content = randomBytes(2000);
    expect((await client.put(BUCKET, key, content)).status).toBe(200);
    for (const outcome of ["MISS", "HIT"]) {
      const answer = await client.get(BUCKET, key);
      expect(answer.status).toBe(200);
      expect(answer.fields.get("x-cache")).toBe(outcome);
      expect(answer.fields.get("content-length")).toBe("2000");
      expect(content.equals(answer.body)).toBe(true);
    }
  });

  test("neighbouring keys are different objects", async () => {
    const keys = ["n/../x", "x", "n/x", "n//x", "n/./x", "/x", "x/", "n%2Fx", "n/X"];
    for (const key of keys) await client.put(BUCKET, key, Buffer.from(key));
    for (let round = 0; round < 2; round += 1) {
      for (const key of keys) {
        expect(Buffer.from((await client.get(BUCKET, key)).body).toString()).toBe(key);
      }
    }
  });

  test("the first read of 40 MiB declares its length", async () => {
    const content = randomBytes(40 * 1024 * 1024);
    expect((await client.put(BUCKET, "large", content)).status).toBe(200);
    for (const outcome of ["MISS", "HIT"]) {
      const answer = await client.get(BUCKET, "large");
      expect(answer.fields.get("x-cache")).toBe(outcome);
      expect(answer.fields.get("content-length")).toBe(String(content.length));
      expect(content.equals(answer.body)).toBe(true);
    }
  });

  test("a HEAD of a cached object declares its length and has no body", async () => {
    await client.put(BUCKET, "head", randomBytes(1234));
    await client.get(BUCKET, "head");
    const answer = await client.call({ method: "HEAD", rawTarget: `/${BUCKET}/head` });
    expect(answer.status).toBe(200);
    expect(answer.fields.get("x-cache")).toBe("HIT");
    expect(answer.fields.get("content-length")).toBe("1234");
    expect(answer.body).toHaveLength(0);
  });
});
