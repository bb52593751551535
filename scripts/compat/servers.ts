/**
 * Whom the suite is run against: a server that exists or is started for the occasion, and the
 * gateway in front of it.
 */

import { join } from "node:path";

import { stringify } from "yaml";

import type { KeyPair } from "../../src/s3/sigv4.ts";
import { startProgram } from "../../test/support/binary.ts";
import { startCeph } from "./ceph.ts";
import { OWN_USERS, parseConf, redirectConf, renderConf } from "./conf.ts";
import type { Server } from "./process.ts";
import { startVersity } from "./versity.ts";

const ROOT = join(import.meta.dir, "../..");

/** Servers that can be started, by the name they have on the command line. */
export const STARTERS: Readonly<Record<string, (folder: string) => Promise<Server>>> = {
  ceph: startCeph,
  versity: startVersity,
  origin: startOrigin,
};

/** The server that the suite's own configuration names. */
export function existingServer(conf: string): Server {
  const { endpoint } = parseConf(conf);
  return {
    name: endpoint,
    conf,
    proxyAccess: undefined,
    crashedBy: [],
    [Symbol.asyncDispose]: async () => undefined,
  };
}

/** The dev origin, where every user may create buckets and owns what it creates. */
async function startOrigin(folder: string): Promise<Server> {
  const proxyAccess = { accessKeyId: "tid_compat", secretAccessKey: "tsec_compat" };
  const program = await startProgram(
    [process.execPath, join(ROOT, "test/support/origin-process.ts")],
    {
      ORIGIN_OPTIONS: JSON.stringify({
        root: folder,
        credentials: OWN_USERS.map(({ accessKeyId, secretAccessKey }) => ({
          accessKeyId,
          secretAccessKey,
          rights: { "*": ["create"] },
        })),
        proxyAccess,
      }),
    },
  );
  return {
    name: "the dev origin",
    conf: renderConf(program.endpoint, OWN_USERS),
    proxyAccess,
    crashedBy: [],
    [Symbol.asyncDispose]: async () => program[Symbol.asyncDispose](),
  };
}

/** The gateway in front of a server. */
export interface FrontedServer extends AsyncDisposable {
  /** The server's configuration with the gateway in its place. */
  readonly conf: string;
  /** What the gateway logged. */
  log(): string;
}

/**
 * Starts the gateway: in transparent mode for a server that knows gateways, else in signing mode
 * with the server's users as its pairs.
 *
 * @param command how to start it, for example `["dist/tag"]`
 * @param folder  for its configuration and its cache
 */
export async function startGateway(
  command: readonly string[],
  server: Server,
  folder: string,
  region: string,
): Promise<FrontedServer> {
  const file = join(folder, "tag.yaml");
  await Bun.write(file, stringify(gatewayConfig(server, region)));
  const program = await startProgram([...command, "serve", "--config", file], {
    TAG_CACHE_DISK_PATH: join(folder, "cache"),
    ...chosenSettings(),
  });
  return {
    conf: redirectConf(server.conf, program.endpoint),
    log: () => program.output(),
    [Symbol.asyncDispose]: async () => program[Symbol.asyncDispose](),
  };
}

/** What this script was started with: `TAG_SERVER_ENGINE=own bun scripts/compat.ts`. */
function chosenSettings(): Record<string, string> {
  const settings: Record<string, string> = {};
  for (const [name, value] of Object.entries(process.env)) {
    if (name.startsWith("TAG_") && value !== undefined) settings[name] = value;
  }
  return settings;
}

function gatewayConfig({ conf, proxyAccess }: Server, region: string) {
  const { endpoint, users } = parseConf(conf);
  if (proxyAccess !== undefined) {
    return { upstream: { endpoint, region }, credentials: pairOf(proxyAccess) };
  }
  const byId = new Map(users.map((user) => [user.accessKeyId, pairOf(user)]));
  return {
    upstream: { endpoint, region, transparent_proxy: false, forward_anonymous: true },
    credentials: { pairs: [...byId.values()] },
  };
}

function pairOf(pair: KeyPair) {
  return { access_key_id: pair.accessKeyId, secret_access_key: pair.secretAccessKey };
}
