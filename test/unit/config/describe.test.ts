import { describe, expect, test } from "bun:test";

import {
  configSchema,
  configTemplate,
  effectiveOptions,
  wrap,
} from "../../../src/config/describe.ts";
import { loadConfig } from "../../../src/config/load.ts";
import type { Option } from "../../../src/config/option.ts";
import { OPTION_ROWS, optionValue } from "../../../src/config/options.ts";
import { formatProblem } from "../../../src/config/problem.ts";

async function loadText(text: string, env: Record<string, string> = {}) {
  const files = { exists: () => false, read: () => text };
  const result = await loadConfig({ env, cwd: "/", files, configPath: "tag.yaml" });
  if (result.kind === "failed") throw new Error(result.problems.map(formatProblem).join("\n"));
  return result;
}

describe("the file of tag config init", () => {
  test("sets nothing as it is", async () => {
    const { sources, warnings } = await loadText(configTemplate());
    expect([sources.size, warnings.length]).toEqual([0, 0]);
  });

  test("gives every default when all its keys are uncommented", async () => {
    // A line of help may look like a key too ("endpoint: …"); the key is the last line of a block.
    const uncommented = configTemplate().replaceAll(/^ {2}# (\w+:.*)(?=\n(?:\n|$))/gm, "  $1");
    const env = { AWS_SECRET_ACCESS_KEY: "s", AWS_SESSION_TOKEN: "t" };
    const { config, sources } = await loadText(uncommented, env);
    expect(sources.size).toBeGreaterThan(30);
    for (const [path, option] of OPTION_ROWS) {
      if (option.kind === "secret") continue;
      expect([path, optionValue(config, path)]).toEqual([path, option.default]);
    }
  });

  test("names every option that has an effect, with its variable and its flag", () => {
    const template = configTemplate();
    for (const [path, option] of OPTION_ROWS as readonly (readonly [string, Option])[]) {
      if (option.inertBecause !== undefined) continue;
      expect(template).toContain(`  # ${path.slice(path.indexOf(".") + 1)}:`);
      if (option.env !== undefined) expect(template).toContain(option.env);
      if (option.flag !== undefined) expect(template).toContain(`--${option.flag}`);
    }
    expect(Math.max(...template.split("\n").map((line) => line.length))).toBeLessThanOrEqual(100);
  });
});

test("tag config show never contains a secret, from whichever source", async () => {
  const { config, sources } = await loadText(
    `upstream: {transparent_proxy: false}
credentials:
  secret_access_key: hush-file
  pairs: [{access_key_id: visible, secret_access_key: hush-pair, session_token: hush-token}]
`,
    { AWS_SESSION_TOKEN: "hush-env", TAG_UPSTREAM_ENDPOINT: "http://10.0.0.1" },
  );
  const shown = JSON.stringify(effectiveOptions(config, sources)) + JSON.stringify(config);
  expect(shown).toContain("visible");
  expect(shown).not.toContain("hush");
  expect(Bun.inspect(config, { depth: 10 })).not.toContain("hush");
});

test("the JSON Schema has the default of every option and allows no other keys", () => {
  const schema = configSchema() as {
    additionalProperties: boolean;
    properties: Record<
      string,
      { additionalProperties: boolean; properties: Record<string, { default?: unknown }> }
    >;
  };
  expect(schema.additionalProperties).toBe(false);
  expect(schema.properties["cache"]?.additionalProperties).toBe(false);
  expect(schema.properties["cache"]?.properties["ttl"]?.default).toBe("1h");
  const count = Object.values(schema.properties).flatMap((section) =>
    Object.keys(section.properties),
  ).length;
  expect(count).toBe(OPTION_ROWS.length);
});

test("wrap breaks at spaces and leaves long words whole", () => {
  expect(wrap("aa bb cc", 5)).toEqual(["aa bb", "cc"]);
  expect(wrap("a-long-word b", 5)).toEqual(["a-long-word", "b"]);
});
