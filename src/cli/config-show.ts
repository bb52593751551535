/** `tag config show`: what is in effect and where each value comes from. */

import { command } from "./command.ts";
import { loadForCommand, OPTION_FLAGS, reportProblems } from "./config-flags.ts";

export const configShow = command({
  name: "tag config show",
  description: "Show every setting in effect and its source; secrets as fingerprints",
  args: {
    ...OPTION_FLAGS,
    json: { type: "boolean", description: "JSON for machines" },
    changed: { type: "boolean", description: "Only settings that are not at their default" },
  },
  examples: [
    ["tag config show", "what tag serve would use here"],
    ["TAG_CACHE_TTL=5m tag config show --changed", "cache.ttl 5m, from env TAG_CACHE_TTL"],
  ],
  async run(input) {
    const { args, terminal } = input;
    const loaded = await loadForCommand(input);
    if (loaded.kind === "failed") return reportProblems(terminal, loaded.problems);
    reportProblems(terminal, loaded.warnings);

    const { effectiveOptions } = await import("../config/describe.ts");
    const rows = effectiveOptions(loaded.config, loaded.sources).filter(
      ({ source }) => args["changed"] !== true || source !== "default",
    );
    if (args["json"] === true) {
      const file = loaded.found.path ?? null;
      terminal.out(JSON.stringify({ file, options: rows }, null, 2));
      return "ok";
    }
    const pathWidth = Math.max(...rows.map(({ path }) => path.length), 0);
    const valueWidth = Math.min(Math.max(...rows.map(({ value }) => value.length), 0), 40);
    for (const { path, value, source } of rows) {
      terminal.out(`${path.padEnd(pathWidth)}  ${(value || "-").padEnd(valueWidth)}  ${source}`);
    }
    return "ok";
  },
});
