/** `tag config init`: a commented file to start from. Never overwrites unless told to. */

import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, resolve } from "node:path";

import { command } from "./command.ts";
import { CliError } from "./exit-codes.ts";

export const configInit = command({
  name: "tag config init",
  description: "Write a commented configuration file with every key at its default",
  args: {
    path: { type: "positional", required: false, description: "Where to (default tag.yaml)" },
    force: { type: "boolean", description: "Replace a file that is already there" },
  },
  examples: [
    ["tag config init", "writes ./tag.yaml, where tag serve finds it"],
    ["tag config init /etc/tag/config.yaml", "for a service"],
    ["tag config init -", "prints it"],
  ],
  async run({ args, terminal }) {
    const { configTemplate } = await import("../config/describe.ts");
    const name = args.path ?? "tag.yaml";
    if (name === "-") {
      terminal.out(configTemplate().trimEnd());
      return "ok";
    }
    const path = resolve(terminal.cwd, name);
    try {
      mkdirSync(dirname(path), { recursive: true });
      // "wx" fails when the file exists: asking first would leave a gap between the two.
      writeFileSync(path, configTemplate(), { flag: args.force === true ? "w" : "wx" });
    } catch (error) {
      if ((error as { code?: unknown }).code === "EEXIST") {
        throw new CliError("io", `${name} is already there; --force replaces it`, { cause: error });
      }
      const reason = error instanceof Error ? error.message : String(error);
      throw new CliError("io", `cannot write ${name}: ${reason}`, { cause: error });
    }
    terminal.success(`wrote ${name}; check it with: tag config lint ${name}`);
    return "ok";
  },
});
