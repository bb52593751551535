/** `tag config which`: which file is read, and why that one. */

import { resolve } from "node:path";

import { findConfigFile, SEARCH_LIST, systemFiles } from "../config/find-file.ts";
import { command } from "./command.ts";
import { CONFIG_FLAG } from "./config-flags.ts";

export const configWhich = command({
  name: "tag config which",
  description: "Show which configuration file is read, and the list it is searched in",
  args: {
    ...CONFIG_FLAG,
    json: { type: "boolean", description: "JSON for machines" },
  },
  examples: [["tag config which", "the decision, step by step"]],
  async run({ args, terminal }) {
    const { env, cwd } = terminal;
    const found = findConfigFile({ configPath: args.config, env, cwd, files: systemFiles });
    if (args.json) {
      const { path = null, because, ignored } = found;
      terminal.out(JSON.stringify({ path, because, ignored }, null, 2));
      return "ok";
    }
    const steps: [place: string, state: string][] = [
      ["--config", args.config ?? "not given"],
      ["TAG_CONFIG", env["TAG_CONFIG"] || "not set"],
      ...SEARCH_LIST.map((name): [string, string] => [
        name,
        systemFiles.exists(resolve(cwd, name)) ? "is there" : "not there",
      ]),
    ];
    for (const [place, state] of steps) {
      const isChosen =
        place === found.because || (found.because === "search list" && place === found.name);
      terminal.out(`${isChosen ? "->" : "  "} ${place.padEnd(22)}${state}`);
    }
    terminal.out(found.path === undefined ? "No file: built-in defaults." : `Reads ${found.path}`);
    return "ok";
  },
});
