/**
 * Settings from flags, from environment variables and from a command's own defaults.
 * Settings from a file: file-settings.ts.
 */

import { Collector } from "./layer.ts";
import type { Environment, FlagSetting, Layer } from "./layer.ts";
import { nearest } from "./nearest.ts";
import type { OptionPath } from "./options.ts";
import { isOptionPath, OPTION_ROWS, OPTIONS } from "./options.ts";
import type { Source } from "./problem.ts";
import { readValue } from "./values.ts";

/** Settings given as flags. */
export function settingsFromFlags(flags: readonly FlagSetting[]): Layer {
  const layer = new Collector();
  for (const { path, text, flag, isNegated } of flags) {
    const source: Source = { kind: "flag", name: flag };
    const read = readValue(OPTIONS[path], text, isNegated === true);
    // An empty flag is a slip ("--http-port="), where an empty variable is common practice.
    if (read.kind === "unset" && text.trim() === "") {
      layer.fail("malformed", path, source, "needs a value");
    } else layer.add(path, read, source);
  }
  return layer;
}

/** Settings of a command's own defaults, as text. */
export function settingsFromPreset(
  preset: Readonly<Partial<Record<OptionPath, string>>>,
  command: string,
): Layer {
  const layer = new Collector();
  for (const [path, text] of Object.entries(preset)) {
    if (isOptionPath(path)) {
      layer.add(path, readValue(OPTIONS[path], text), { kind: "preset", command });
    }
  }
  return layer;
}

/** Variables that begin with TAG_ and are not options. */
const OTHER_VARIABLES = new Set(["TAG_CONFIG", "TAG_VERSION"]);

/**
 * Settings from environment variables, but for those that hold more than one value (pairs; see
 * load.ts). Empty variables count as unset.
 */
export function settingsFromEnvironment(env: Environment): Layer {
  const layer = new Collector();
  const known = new Set<string>();
  for (const [path, option] of OPTION_ROWS) {
    if (option.env === undefined) continue;
    known.add(option.env);
    const text = env[option.env];
    if (text === undefined || option.kind === "pairs") continue;
    const read = readValue(option, text, option.isNegated === true);
    layer.add(path, read, { kind: "env", name: option.env });
  }
  // Not every unknown TAG_* is ours: Kubernetes makes TAG_PORT and TAG_SERVICE_HOST out
  // of a service named "tag". So a near miss is a warning, and anything else is left alone.
  for (const name of Object.keys(env)) {
    if (!name.startsWith("TAG_") || known.has(name) || OTHER_VARIABLES.has(name)) continue;
    const suggestion = nearest(name, known);
    if (suggestion === undefined) continue;
    layer.fail(
      "malformed",
      undefined,
      { kind: "env", name },
      "unknown variable",
      `did you mean ${suggestion}?`,
      "warning",
    );
  }
  return layer;
}
