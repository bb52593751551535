/**
 * `tag dev`: a gateway together with an object store of its own, for a first look, for
 * demos and for tests. It needs no account, keeps everything in one folder, and shows
 * MISS and HIT with a distance that can be chosen.
 */

import { mkdirSync } from "node:fs";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";

import type { FlagSetting } from "../config/layer.ts";
import { usage } from "./arguments.ts";
import { command } from "./command.ts";
import type { CommandInput } from "./command.ts";
import { OPTION_FLAGS } from "./config-flags.ts";
import { CliError } from "./exit-codes.ts";
import type { Ready } from "./run-server.ts";
import type { Terminal } from "./terminal.ts";

/** Holds origin and cache when nothing else is said; in the working directory. */
const DEV_FOLDER = ".tag-dev";

const args = {
  ...OPTION_FLAGS,
  origin: {
    type: "string",
    valueHint: "DIR",
    description: `Folder of the object store (default ${DEV_FOLDER}/origin)`,
  },
  port: { type: "string", valueHint: "N", description: "Port of the gateway, same as --http-port" },
  latency: {
    type: "string",
    valueHint: "MS",
    description: "Simulated distance: time before every answer, 20 or 20ms",
  },
  bandwidth: {
    type: "string",
    valueHint: "BYTES",
    description: "Simulated line: bytes per second of a connection, for example 10MiB",
  },
  fault: {
    type: "string",
    valueHint: "RULE",
    description: "Fault on purpose, for example reset-after=1MiB,key=tmp/* (repeatable)",
  },
} as const;

export const dev = command({
  name: "tag dev",
  description: "Try it: the gateway with an object store of its own, no account needed",
  args,
  examples: [
    ["tag dev", "on port 8080, everything under .tag-dev"],
    ["tag dev --latency 20 --bandwidth 50MiB", "an object store far away"],
    ["tag dev --fault 'status=503,count=3'", "the first three requests fail upstream"],
  ],
  async run(input) {
    const { terminal, values } = input;
    const { runServer } = await import("./run-server.ts");
    const origin = resolve(terminal.cwd, values.get("origin")?.at(-1) ?? `${DEV_FOLDER}/origin`);
    createFolder(origin);
    return runServer(
      input,
      {
        // A tag.yaml that lies here is for the real upstream; only a named file counts.
        isSearching: false,
        preset: {
          command: "tag dev",
          values: {
            "server.bind_ip": "127.0.0.1",
            "cache.disk_path": resolve(terminal.cwd, DEV_FOLDER, "cache"),
            "log.format": "console",
          },
        },
        flags: devSettings(input, origin),
      },
      (ready) => sayHowToUse(terminal, ready, origin),
    );
  },
});

function devSettings(
  { values }: CommandInput<typeof args>,
  origin: string,
): readonly FlagSetting[] {
  const settings: FlagSetting[] = [
    { path: "upstream.endpoint", text: pathToFileURL(origin).href, flag: "--origin" },
  ];
  const port = values.get("port")?.at(-1);
  const httpPort = values.get("http-port")?.at(-1);
  if (port !== undefined && httpPort !== undefined && port !== httpPort) {
    throw usage(`--port ${port} and --http-port ${httpPort} name different ports`);
  }
  if (port !== undefined) settings.push({ path: "server.http_port", text: port, flag: "--port" });
  const latency = values.get("latency")?.at(-1);
  if (latency !== undefined) {
    const text = /^\d+(?:\.\d+)?$/.test(latency) ? `${latency}ms` : latency;
    settings.push({ path: "origin.latency", text, flag: "--latency" });
  }
  const bandwidth = values.get("bandwidth")?.at(-1);
  if (bandwidth !== undefined) {
    settings.push({ path: "origin.bandwidth_bytes", text: bandwidth, flag: "--bandwidth" });
  }
  const faults = values.get("fault");
  if (faults !== undefined) {
    settings.push({ path: "origin.faults", text: faults.join(";"), flag: "--fault" });
  }
  return settings;
}

function createFolder(path: string): void {
  try {
    mkdirSync(path, { recursive: true });
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new CliError("io", `cannot create the origin folder ${path}: ${reason}`, {
      cause: error,
    });
  }
}

function sayHowToUse(terminal: Terminal, ready: Ready, origin: string): void {
  const { config, httpPort, readPort } = ready;
  const scheme = config.server.tlsCertFile === undefined ? "http" : "https";
  const host = config.server.bindIp === "0.0.0.0" ? "127.0.0.1" : config.server.bindIp;
  const urlOf = (port: number) => `${scheme}://${host.includes(":") ? `[${host}]` : host}:${port}`;
  const users =
    config.origin.pairs.length === 0
      ? ["tagdev / tagdevsecret (all rights)", "tagother / tagothersecret (no rights yet)"]
      : config.origin.pairs.map(({ accessKeyId }) => `${accessKeyId} (from the configuration)`);
  const lines = [
    "",
    `  Endpoint      ${urlOf(httpPort)}`,
    ...(readPort === undefined ? [] : [`  Read port     ${urlOf(readPort)}`]),
    ...users.map(
      (user, index) => `${index === 0 ? "  Credentials   " : "                "}${user}`,
    ),
    `  Objects       ${origin}`,
    `  Cache         ${config.cache.diskPath}`,
    `  Try           AWS_ACCESS_KEY_ID=tagdev AWS_SECRET_ACCESS_KEY=tagdevsecret \\`,
    `                aws --endpoint-url ${urlOf(httpPort)} s3 mb s3://demo`,
    "  Stop          Ctrl-C",
    "",
    "  The object store is for development: not replicated, not tuned, not for your data.",
    "",
  ];
  terminal.out(lines.join("\n"));
}
