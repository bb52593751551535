import { expect, test } from "bun:test";
import { parseArgs } from "citty";

import { checkWords } from "../../../src/cli/arguments.ts";
import { CliError } from "../../../src/cli/exit-codes.ts";

const ARGS = {
  config: { type: "string" },
  "http-port": { type: "string" },
  fault: { type: "string" },
  "disable-cache": { type: "boolean" },
  env: { type: "boolean", default: true },
  file: { type: "positional", required: false },
} as const;

function read(...words: string[]) {
  const checked = checkWords(words, ARGS);
  return { ...checked, args: parseArgs([...checked.words], ARGS) };
}

function complaint(...words: string[]): string {
  try {
    checkWords(words, ARGS);
  } catch (error) {
    if (error instanceof CliError && error.exit === "usage") return error.message;
    throw error;
  }
  return "accepted";
}

test.each([
  [["--config", "a.yaml"], "config", "a.yaml"],
  [["--config=a.yaml"], "config", "a.yaml"],
  [["-config", "a.yaml"], "config", "a.yaml"],
  [["-config=a=b.yaml"], "config", "a=b.yaml"],
  [["--http-port", "-5"], "http-port", "-5"],
  [["--disable-cache"], "disable-cache", true],
  [["--disable-cache=0"], "disable-cache", false],
  [["-disable-cache=T"], "disable-cache", true],
  [["--no-env"], "env", false],
  [[], "env", true],
  [[], "disable-cache", undefined],
  [["x.yaml"], "file", "x.yaml"],
  [["-"], "file", "-"],
  [["--", "--config"], "file", "--config"],
  [["x.yaml", "--config", "y"], "file", "x.yaml"],
  [["--config", "a", "--config", "b"], "config", "b"],
] as const)("%j gives %s the value %p", (words, name, value) => {
  expect(read(...words).args[name]).toBe(value as never);
});

test("every value of a repeated flag is kept, in order", () => {
  expect(read("--fault", "stall", "--fault=hang").values.get("fault")).toEqual(["stall", "hang"]);
});

test.each([
  [["--http-prt", "1"], "unknown flag --http-prt, did you mean --http-port?"],
  [["--zzz"], "unknown flag --zzz"],
  [["-x"], "unknown flag --x"],
  [["--file", "x"], "unknown flag --file"],
  [["--config"], "--config needs a value"],
  [["--config", "--env"], "--config needs a value"],
  [["--disable-cache=maybe"], '--disable-cache is on or off, "maybe" is neither'],
  [["a", "b"], 'unexpected argument "b"'],
  [["--no-config"], "unknown flag --no-config, did you mean --config?"],
])("%j is refused: %s", (words, message) => {
  expect(complaint(...words)).toBe(message);
});

test.each([["--help"], ["-h"], ["-help"]])(
  "%s asks for help, whatever else is wrong behind it",
  (word) => {
    expect(read(word, "--zzz").isHelp).toBe(true);
  },
);
