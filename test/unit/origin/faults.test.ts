import { describe, expect, test } from "bun:test";
import { seededRandom } from "../../../src/base/random.ts";
import { Faults, type FaultRule, parseFaultRule } from "../../../src/origin/faults.ts";

const GET = { method: "GET", operation: "GetObject", bucket: "demo", key: "tmp/a/b.bin" };

function rule(text: string): FaultRule {
  const parsed = parseFaultRule(text);
  if (typeof parsed === "string") throw new Error(parsed);
  return parsed;
}

function faults(...texts: string[]): Faults {
  return new Faults(texts.map(rule), seededRandom(1));
}

describe("parseFaultRule", () => {
  test.each([
    ["status=503", { kind: "status", status: 503 }],
    ["delay=1.5s", { kind: "delay", delayMs: 1500 }],
    ["hang", { kind: "hang" }],
    ["error-in-200", { kind: "error-in-200" }],
    ["reset-after=1MiB", { kind: "reset", afterBytes: 1_048_576 }],
    ["reset-after=0", { kind: "reset", afterBytes: 0 }],
    ["stall", { kind: "stall", afterBytes: 0 }],
    ["stall-after=64KiB", { kind: "stall", afterBytes: 65_536 }],
    ["short-body", { kind: "short-body" }],
  ])("reads %s", (text, fault) => {
    expect(rule(text).fault).toEqual(fault as FaultRule["fault"]);
  });

  test("reads conditions in any order, with blanks around the terms", () => {
    const parsed = rule("status=500, count=2, method=get, probability=0.5, key=tmp/*");
    expect(parsed).toMatchObject({ count: 2, method: "GET", probability: 0.5 });
    expect(parsed.key?.test("tmp/a/b")).toBe(true);
  });

  test.each([
    "",
    "status",
    "status=200",
    "status=abc",
    "reset-after=many",
    "stall=1",
    "explode",
    "status=503,count=0",
    "status=503,count=1.5",
    "status=503,probability=2",
    "status=503,probability=0",
    "status=503,key=",
    "status=503,color=red",
  ])("refuses %p with a sentence that quotes it", (text) => {
    const problem = parseFaultRule(text);
    expect(problem).toBeString();
    expect(problem).toContain("use ");
  });
});

describe("Faults", () => {
  test("happens as often as its count says and then no more", () => {
    const some = faults("status=503,count=2");
    const happened = [1, 2, 3].map(() => some.beforeAnswer(GET)?.kind);
    expect(happened).toEqual(["status", "status", undefined]);
  });

  test.each([
    ["key=tmp/*", true],
    ["key=tmp/?/b.bin", true],
    ["key=*.bin", true],
    ["key=tmp", false],
    ["key=TMP/*", false],
    ["key=tmp/a.b*", false],
    ["bucket=demo", true],
    ["bucket=other", false],
    ["method=GET", true],
    ["method=PUT", false],
  ])("with %s applies to the request: %p", (condition, applies) => {
    expect(faults(`hang,${condition}`).beforeAnswer(GET) !== undefined).toBe(applies);
  });

  test("uses the first rule that matches", () => {
    const some = faults("status=500,key=other", "status=503", "status=404");
    expect(some.beforeAnswer(GET)).toEqual({ kind: "status", status: 503 });
  });

  test("happens about as often as its probability says", () => {
    const some = faults("hang,probability=0.25");
    const count = Array.from({ length: 1000 }, () => some.beforeAnswer(GET)).filter(Boolean).length;
    expect(count).toBeGreaterThan(200);
    expect(count).toBeLessThan(300);
  });

  test("counts a body fault only when the body is long enough to show it", () => {
    const some = faults("reset-after=100,count=1");
    expect(some.inBody(GET, 100)).toBeUndefined();
    expect(some.inBody(GET, 101)).toEqual({ kind: "reset", afterBytes: 100 });
    expect(some.inBody(GET, 101)).toBeUndefined();
  });

  test("keeps faults of the answer and of the body apart", () => {
    const some = faults("short-body", "status=503");
    expect(some.beforeAnswer(GET)?.kind).toBe("status");
    expect(some.inBody(GET, 10)?.kind).toBe("short-body");
  });

  test("fails inside a 200 only where S3 does", () => {
    const some = faults("error-in-200");
    expect(some.beforeAnswer(GET)).toBeUndefined();
    const copy = { ...GET, method: "PUT", operation: "CopyObject" };
    expect(some.beforeAnswer(copy)?.kind).toBe("error-in-200");
  });

  test("is over when cleared", () => {
    const some = faults("hang");
    some.clear();
    expect(some.beforeAnswer(GET)).toBeUndefined();
  });
});
