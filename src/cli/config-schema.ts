/** `tag config schema`: the option table as JSON Schema, for editors and CI. */

import { command } from "./command.ts";

export const configSchemaCommand = command({
  name: "tag config schema",
  description: "Print the JSON Schema of a configuration file",
  args: {},
  examples: [["tag config schema > tag.schema.json", "for the YAML support of an editor"]],
  async run({ terminal }) {
    const { configSchema } = await import("../config/describe.ts");
    terminal.out(JSON.stringify(configSchema(), null, 2));
    return "ok";
  },
});
