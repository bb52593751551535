// The key of a form upload: found where it is plain, unknown where it is not, and the body untouched.
import { expect, test } from "bun:test";
import { bytesSource, readAll } from "../../../src/base/byte-source.ts";
import { readForm } from "../../../src/gateway/form-upload.ts";

const TYPE = "multipart/form-data; boundary=----x";
const field = (name: string, value: string) =>
  `------x\r\nContent-Disposition: form-data; name="${name}"\r\n\r\n${value}\r\n`;
const FILE =
  '------x\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\n' +
  "Content-Type: text/plain\r\n\r\nthe file\r\n------x--\r\n";

/** Reads a form in pieces, and proves that it comes out as it went in. */
async function keyOf(
  form: string,
  contentType = TYPE,
  pieceBytes = 7,
): Promise<string | undefined> {
  const bytes = Buffer.from(form);
  const pieces: Uint8Array[] = [];
  for (let at = 0; at < bytes.length; at += pieceBytes)
    pieces.push(bytes.subarray(at, at + pieceBytes));
  const { key, body } = await readForm(contentType, bytesSource(...pieces));
  expect(Buffer.from(await readAll(body, 1 << 24)).equals(bytes)).toBe(true);
  return key;
}

test.each([
  ["alone", field("key", "a/b.txt") + FILE, "a/b.txt"],
  ["among others", field("acl", "private") + field("key", "k") + field("policy", "x") + FILE, "k"],
  ["with a name in capitals", field("Key", "k") + FILE, "k"],
  ["of any characters", field("key", "Grüße +%2F?&\"'") + FILE, "Grüße +%2F?&\"'"],
  [
    "with a type",
    field("key", "k").replace("\r\n\r\n", "\r\nContent-Type: text/plain\r\n\r\n") + FILE,
    "k",
  ],
  ["with a line end in it", field("key", "two\r\nlines") + FILE, "two\r\nlines"],
  ["of 1024 bytes", field("key", "k".repeat(1024)) + FILE, "k".repeat(1024)],
])("a key %s is found", async (_what, form, key) => {
  expect(await keyOf(form)).toBe(key);
  expect(await keyOf(form, TYPE, 1_000_000)).toBe(key);
});

test("a boundary in quotes is the same boundary", async () => {
  expect(await keyOf(field("key", "k") + FILE, 'multipart/form-data; boundary="----x"')).toBe("k");
});

test.each([
  ["a key made from the file's name", field("key", "user/${filename}") + FILE],
  ["two keys", field("key", "a") + field("key", "b") + FILE],
  ["no key", field("acl", "private") + FILE],
  ["a key behind the file", FILE.replace("------x--\r\n", "") + field("key", "late")],
  ["no file", `${field("key", "k")}------x--\r\n`],
  ["an empty key", field("key", "") + FILE],
  ["a key too long", field("key", "k".repeat(1025)) + FILE],
  ["another character set", field("_charset_", "latin1") + field("key", "k") + FILE],
  [
    "a transfer encoding",
    field("key", "aw==").replace("\r\n\r\n", "\r\nContent-Transfer-Encoding: base64\r\n\r\n") +
      FILE,
  ],
  ["an escaped name", field('k\\"ey', "k") + field("key", "k") + FILE],
  ["a name without quotes", field("key", "k").replace('"key"', "key") + FILE],
  ["an extended name", field("key", "k").replace('name="key"', "name*=utf-8''key") + FILE],
  ["a preamble", `preamble\r\n${field("key", "k")}${FILE}`],
  ["bare line feeds", (field("key", "k") + FILE).replaceAll("\r\n", "\n")],
  ["more fields than S3 allows", field("filler", "x".repeat(80_000)) + field("key", "k") + FILE],
  ["an end in the middle", field("key", "k").slice(0, 30)],
  ["nothing", ""],
])("%s tells no key", async (_what, form) => {
  expect(await keyOf(form)).toBeUndefined();
});

test("a key that is not UTF-8 is none", async () => {
  const form = Buffer.from(field("key", "\xff\xfe") + FILE, "latin1");
  expect((await readForm(TYPE, bytesSource(form))).key).toBeUndefined();
});

test("without a boundary nothing is read", async () => {
  expect(await keyOf(field("key", "k") + FILE, "multipart/form-data")).toBeUndefined();
});
