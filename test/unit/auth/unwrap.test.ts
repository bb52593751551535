import { expect, test } from "bun:test";
import { unwrapSigningKeys, wrappingKey } from "../../../src/auth/unwrap.ts";
import { derivedKeyHex, wrapKeys } from "../../support/wrapped-keys.ts";

const SECRET = "tsec_test_secret";
const KEY = wrappingKey(SECRET);
const KEY_HEX = "90f2822624b9c7a26b85ac60e3035c4a8616332c07aa4283177199354823bdbb";
const ENTRY = { date: "20260724", region: "auto", key: KEY_HEX };
// The vector of the behaviour reference: nonce 00…0b, AAD tid_client, one entry.
const VECTOR =
  "AAECAwQFBgcICQoLZi0cgGjcXVVy24TWZAwGlxKABVlL/6OOQLMMECwjDvhdSb/g5UO4uKgEU/2+kjQHm+U2kaYEINlsrZRohPerlEfgRrnTyN3lx9gY1RzTeQ37mXgfuI34J9zHaeKcKB47CO4f9Lw89zbBSIXe7O/AlHY8VrYtcDR9XzZb+LiW";

test("the AES key is the hash of the gateway's secret", () => {
  expect(Buffer.from(KEY).toString("hex")).toBe(
    "29253d8f884cb57ac918775104262c04b6bfb5925ac64002386a99d84652ad14",
  );
});

test("the vector of the behaviour reference opens, and is what our own wrapping makes", () => {
  expect(unwrapSigningKeys(VECTOR, KEY, "tid_client")).toEqual([
    {
      accessKeyId: "tid_client",
      date: "20260724",
      region: "auto",
      key: Buffer.from(KEY_HEX, "hex"),
    },
  ]);
  expect(wrapKeys(JSON.stringify([ENTRY]), "tid_client", SECRET)).toBe(VECTOR);
  expect(derivedKeyHex("client_secret", "20260724", "auto")).toBe(KEY_HEX);
});

test("keys wrapped for another client or by another secret do not open", () => {
  expect(unwrapSigningKeys(VECTOR, KEY, "tid_other")).toBeUndefined();
  expect(unwrapSigningKeys(VECTOR, wrappingKey("other"), "tid_client")).toBeUndefined();
});

test("a changed byte anywhere keeps the value shut", () => {
  const bytes = Buffer.from(VECTOR, "base64");
  for (let at = 0; at < bytes.length; at += 1) {
    const changed = Buffer.from(bytes);
    changed[at] = (changed[at] ?? 0) ^ 0x40;
    expect(unwrapSigningKeys(changed.toString("base64"), KEY, "tid_client")).toBeUndefined();
  }
});

test.each([
  ["nothing", ""],
  ["no base64", "!!!not base64!!!"],
  ["28 bytes: a nonce and a tag around nothing", Buffer.alloc(28).toString("base64")],
  ["no JSON", wrapKeys("hello", "tid_client", SECRET)],
  ["JSON that is no list", wrapKeys("{}", "tid_client", SECRET)],
  ["far too long", "A".repeat(100_000)],
])("%s is ignored", (_why, value) => {
  expect(unwrapSigningKeys(value, KEY, "tid_client")).toBeUndefined();
});

test("single entries that make no sense are left out, the others kept", () => {
  const entries = [
    ENTRY,
    null,
    "text",
    { ...ENTRY, key: "zz" },
    { ...ENTRY, key: KEY_HEX.slice(2) },
    { ...ENTRY, date: 20260724 },
    { ...ENTRY, region: "a/b" },
    { ...ENTRY, date: "20260723" },
  ];
  const keys = unwrapSigningKeys(wrapKeys(JSON.stringify(entries), "c", SECRET), KEY, "c");
  expect(keys?.map((key) => key.date)).toEqual(["20260724", "20260723"]);
});
