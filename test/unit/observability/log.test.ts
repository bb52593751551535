import { describe, expect, test } from "bun:test";
import { GatewayError } from "../../../src/base/errors.ts";
import { LineWriter } from "../../../src/observability/line-writer.ts";
import {
  createLog,
  describeError,
  type LogFormat,
  type LogLevel,
  parseLogFilter,
  SILENT_LOG,
} from "../../../src/observability/log.ts";
import { SimClock } from "../../support/sim-clock.ts";

const START_MS = Date.UTC(2026, 6, 24, 1, 2, 3, 456);

function capture(level: string, format: LogFormat = "json") {
  const lines: string[] = [];
  const log = createLog({
    level,
    format,
    clock: new SimClock({ startMs: START_MS }),
    write: (line) => void lines.push(line),
  });
  return { log, lines, parsed: () => lines.map((line) => JSON.parse(line)) };
}

const ALL_LEVELS: readonly LogLevel[] = ["error", "warn", "info", "debug"];

describe("levels", () => {
  test.each([
    ["error", ["error"]],
    ["warn", ["error", "warn"]],
    ["info", ["error", "warn", "info"]],
    ["debug", ALL_LEVELS],
    ["trace", ALL_LEVELS],
    ["", ["error", "warn", "info"]],
    ["WARN", ["error", "warn"]],
  ] as const)("%j writes %j", (level, expected) => {
    const { log, parsed } = capture(level);
    for (const each of ALL_LEVELS) {
      log[each]("x");
      expect(log.isEnabled(each)).toBe((expected as readonly string[]).includes(each));
    }
    expect(parsed().map((line) => line.level)).toEqual([...expected]);
  });

  test("can be set per module, and others keep the common one", () => {
    const { log, parsed } = capture("warn,upstream=debug,store=error");
    for (const module of ["upstream", "store", "auth"]) {
      const child = log.child({ module });
      for (const level of ALL_LEVELS) child[level]("x");
    }
    const written = parsed().map((line) => `${line.module}:${line.level}`);
    expect(written).toEqual([
      ...ALL_LEVELS.map((level) => `upstream:${level}`),
      "store:error",
      "auth:error",
      "auth:warn",
    ]);
  });

  test("can be changed while the log is in use, also for logs made before", () => {
    const { log, lines } = capture("info");
    const child = log.child({ module: "cache" });
    child.debug("before");
    const result = parseLogFilter("error,cache=debug");
    if (result.kind === "problem") throw new Error(result.problem);
    log.setFilter(result.filter);
    child.debug("after");
    log.info("gone");
    expect(lines).toHaveLength(1);
    expect(lines[0]).toContain("after");
  });

  test.each([
    ["loud", "not a log level"],
    ["info,debug", "two levels"],
    ["info,nowhere=debug", "not a log module"],
    ["cache=", "not a log level"],
    ["=info", "not a log module"],
    ["info,cache=debug=x", "not a log level"],
  ])("%j is refused: it is %s", (text, words) => {
    const result = parseLogFilter(text);
    expect(result).toMatchObject({ kind: "problem", problem: expect.stringContaining(words) });
    expect(() => capture(text)).toThrow(words);
  });

  test("cost nothing to format while they are off", () => {
    const { log } = capture("info");
    const fields = {
      get costly(): string {
        throw new Error("was read");
      },
    };
    log.debug("x", fields);
    expect(() => log.info("x", fields)).toThrow("was read");
  });
});

describe("a JSON line", () => {
  test("has level, time in seconds and message first, then the fields", () => {
    const { log, lines } = capture("info");
    log
      .child({ module: "cache", node: "n1" })
      .info("stored", { bucket: "b", bytes: 5, gone: undefined });
    expect(lines).toEqual([
      `{"level":"info","time":${START_MS / 1000},"message":"stored","module":"cache","node":"n1","bucket":"b","bytes":5}`,
    ]);
  });

  test("is one line whatever a key holds", () => {
    const { log, lines, parsed } = capture("info");
    const key = 'a"b\\c\nd\u0000\u2028{"level":"error"}';
    log.info("x", { key });
    expect(lines[0]).not.toContain("\n");
    expect(parsed()[0].key).toBe(key);
  });

  test("cannot have its level, time or message replaced by a field", () => {
    const { log, parsed } = capture("info");
    log.info("real", { level: "error", message: "fake", time: 0 });
    expect(parsed()[0]).toMatchObject({
      level: "info",
      message: "real",
      field_level: "error",
      field_message: "fake",
      field_time: 0,
    });
  });

  test("tells an error with its causes and code, and a stack only for the unexpected", () => {
    const { log, parsed } = capture("info");
    const cause = new Error("ECONNRESET");
    log.warn("failed", {
      error: new GatewayError("upstream_reset", "upstream broke off", { cause }),
    });
    log.error("failed", { error: new TypeError("x is undefined") });
    log.warn("failed", { error: new TypeError("x is undefined") });
    const [expected, bug, mild] = parsed();
    expect(expected).toMatchObject({
      error: "upstream broke off: ECONNRESET",
      code: "upstream_reset",
    });
    expect(expected.stack).toBeUndefined();
    expect(bug.stack).toContain("log.test.ts");
    expect(mild.stack).toBeUndefined();
  });

  test("survives values JSON cannot write", () => {
    const { log, parsed } = capture("info");
    const cycle: Record<string, unknown> = {};
    cycle["self"] = cycle;
    log.info("big", { count: 10n });
    log.info("round", { cycle });
    expect(parsed()[0].count).toBe("10");
    expect(parsed()[1]).toMatchObject({ message: "round", fields: expect.any(String) });
  });
});

describe("a console line", () => {
  test("is for people: time, level, module, message, fields", () => {
    const { log, lines } = capture("info", "console");
    log
      .child({ module: "store" })
      .warn("almost full", { bytes: 5, path: "/a b", key: "x=1", ok: true });
    expect(lines).toEqual([
      '01:02:03.456 WARN  store almost full bytes=5 path="/a b" key="x=1" ok=true',
    ]);
  });

  test("cannot be broken or coloured by a value", () => {
    const { log, lines } = capture("info", "console");
    log.info("x", { key: "a\nb\u001b[31m", nested: { a: "\n" } });
    expect(lines).toEqual(['01:02:03.456 INFO  x key="a\\nb\\u001b[31m" nested={"a":"\\n"}']);
  });
});

test("an error is described with its causes, even when they go in circles", () => {
  const error = new Error("outer", { cause: new Error("inner", { cause: "root" }) });
  expect(describeError(error)).toBe("outer: inner: root");
  expect(describeError("text")).toBe("text");
  expect(describeError({ a: 1 })).toBe('{"a":1}');
  expect(describeError(new Error(""))).toBe("Error");
  const circle = new Error("o");
  circle.cause = circle;
  expect(describeError(circle).length).toBeLessThan(50);
});

test("the silent log takes everything and writes nothing", () => {
  expect(SILENT_LOG.isEnabled("error")).toBe(false);
  SILENT_LOG.child({ module: "x" }).error("x");
});

describe("the line writer", () => {
  function collect(limitChars?: number) {
    const clock = new SimClock();
    const texts: string[] = [];
    const writer = new LineWriter({ clock, write: (text) => void texts.push(text), limitChars });
    return { clock, texts, writer };
  }

  test("gathers lines for a moment and writes them at once, in order", async () => {
    const { clock, texts, writer } = collect();
    writer.write("a", "info");
    writer.write("b", "debug");
    expect(texts).toEqual([]);
    await clock.run(clock.sleep(50));
    expect(texts).toEqual(["a\nb\n"]);
    expect(clock.pendingTimers).toBe(0);
  });

  test.each(["warn", "error"] as const)(
    "does not let a line of level %s wait, nor those before it",
    (level) => {
      const { clock, texts, writer } = collect();
      writer.write("a", "info");
      writer.write("b", level);
      expect(texts).toEqual(["a\nb\n"]);
      expect(clock.pendingTimers).toBe(0);
    },
  );

  test("is bounded", () => {
    const { texts, writer } = collect(10);
    for (let index = 0; index < 6; index += 1) writer.write("abc", "info");
    expect(texts).toEqual(["abc\nabc\nabc\n", "abc\nabc\nabc\n"]);
  });

  test("writes what waits when it is told to, and nothing when nothing waits", () => {
    const { texts, writer } = collect();
    writer.flush();
    writer.write("a", "info");
    writer.flush();
    writer.flush();
    expect(texts).toEqual(["a\n"]);
  });
});

describe("plain lines are those of info, byte for byte", () => {
  test.each([
    ["nothing", {}],
    ["only undefined", { a: undefined }],
    ["every type", { text: "x", count: 1.5, no: false, left_out: undefined, nan: Number.NaN }],
    ["what has to be escaped", { key: 'a"b\\c\nd\u0000\u2028é\ud800', 'odd name"': "…" }],
  ])("%s", (_what, fields) => {
    for (const format of ["json", "console"] as const) {
      const plain = capture("info,http=info", format);
      const usual = capture("info,http=info", format);
      for (const message of ["request", 'an "odd" one', "request"]) {
        for (const bound of [{}, { module: "http" }, { module: "http", node: 'n"1', port: 1 }]) {
          plain.log.child(bound).infoPlain(message, fields);
          usual.log.child(bound).info(message, fields);
        }
        plain.log.infoPlain(message, fields);
        usual.log.info(message, fields);
      }
      expect(plain.lines).toEqual(usual.lines);
      expect(plain.lines).toHaveLength(12);
    }
  });

  test("and are not written when the level is off", () => {
    const { log, lines } = capture("info,http=warn");
    log.child({ module: "http" }).infoPlain("request", { a: 1 });
    expect(lines).toEqual([]);
    log.setFilter({ level: "info", modules: new Map() });
    log.child({ module: "http" }).infoPlain("request", { a: 1 });
    expect(lines).toHaveLength(1);
  });
});
