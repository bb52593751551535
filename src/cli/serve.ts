/** `tag serve`: runs the gateway. */

import { usage } from "./arguments.ts";
import { command } from "./command.ts";
import { OPTION_FLAGS } from "./config-flags.ts";

export const serve = command({
  name: "tag serve",
  description: "Run the gateway",
  args: {
    ...OPTION_FLAGS,
    listen: {
      type: "string",
      valueHint: "HOST:PORT",
      description: "Overrides server.bind_ip and server.http_port together",
    },
    verbose: { type: "boolean", description: "Same as --log-level debug" },
  },
  examples: [
    ["tag serve --config tag.yaml", "with a file"],
    ["tag serve --listen 127.0.0.1:9080", "this machine only, another port"],
    ["tag --config tag.yaml", "the same, as the original spells it"],
  ],
  async run(input) {
    const { values, args } = input;
    const { runServer } = await import("./run-server.ts");
    const flags = [
      ...listenSettings(values.get("listen")?.at(-1), values.get("http-port")?.at(-1)),
      ...verboseSettings(args["verbose"] === true, values.has("log-level")),
    ];
    return runServer(input, { flags }, () => undefined);
  },
});

function listenSettings(listen: string | undefined, httpPort: string | undefined) {
  if (listen === undefined) return [];
  const match = /^(?:\[([0-9a-f:.]+)\]|([^:\s]*)):(\d+)$/i.exec(listen);
  const port = match?.[3];
  if (port === undefined) throw usage(`--listen ${listen} is not HOST:PORT`);
  if (httpPort !== undefined && httpPort !== port) {
    throw usage(`--listen ${listen} and --http-port ${httpPort} name different ports`);
  }
  const host = match?.[1] ?? match?.[2] ?? "";
  return [
    { path: "server.http_port" as const, text: port, flag: "--listen" },
    ...(host === "" ? [] : [{ path: "server.bind_ip" as const, text: host, flag: "--listen" }]),
  ];
}

function verboseSettings(isVerbose: boolean, hasLevel: boolean) {
  if (!isVerbose) return [];
  if (hasLevel) throw usage("--verbose and --log-level exclude each other");
  return [{ path: "log.level" as const, text: "debug", flag: "--verbose" }];
}
