/** `tag version` and `tag --version`: what this build is. */

import { BUILD, versionBlock } from "../base/version.ts";
import { command } from "./command.ts";

export const version = command({
  name: "tag version",
  description: "Print version, build time and commit",
  args: { json: { type: "boolean", description: "JSON for machines" } },
  examples: [
    ["tag version", "four lines, like tag --version"],
    ["tag version --json", "for scripts"],
  ],
  async run({ args, terminal }) {
    terminal.out(args.json ? JSON.stringify({ ...BUILD, bun: Bun.version }) : versionBlock(BUILD));
    return "ok";
  },
});
