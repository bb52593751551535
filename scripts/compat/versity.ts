/** versitygw on a folder: S3 with versions, locks, CORS and several users; lighter than Ceph. */

import { mkdir } from "node:fs/promises";
import { join } from "node:path";

import { OWN_USERS, renderConf, type SuiteUser } from "./conf.ts";
import { freePort, output, type Server, untilListening } from "./process.ts";

const REGION = "us-east-1";
/** The administrator, whom the suite does not use. */
const ROOT_USER = { access: "tag-root", secret: "tag-root-secret" };

/** Starts the program `versitygw` on folders below `folder`. */
export async function startVersity(folder: string): Promise<Server> {
  const under = async (name: string): Promise<string> => {
    await mkdir(join(folder, name), { recursive: true });
    return join(folder, name);
  };
  const port = await freePort();
  const endpoint = `http://127.0.0.1:${port}`;
  const child = Bun.spawn(
    [
      "versitygw",
      "--quiet",
      "--keep-alive",
      ...flags({ port: `127.0.0.1:${port}`, region: REGION, ...ROOT_USER }),
      ...flags({ "iam-dir": await under("iam") }),
      "posix",
      ...flags({ "versioning-dir": await under("versions") }),
      await under("data"),
    ],
    { stdin: "ignore", stdout: "ignore", stderr: "inherit" },
  );
  const stop = async () => {
    child.kill("SIGTERM");
    await child.exited;
  };
  try {
    await untilListening(endpoint, () => child.exitCode !== null, 15_000);
    for (const user of OWN_USERS) await addUser(endpoint, user);
    const version = await output(["versitygw", "--version"]);
    return {
      // One that was built by `go install` does not know its version.
      name: ["versitygw", ...(/\d+\.\d+\.\d+/.exec(version) ?? [])].join(" "),
      conf: renderConf(endpoint, OWN_USERS),
      proxyAccess: undefined,
      crashedBy: [],
      [Symbol.asyncDispose]: stop,
    };
  } catch (error) {
    await stop();
    throw error;
  }
}

async function addUser(endpoint: string, user: SuiteUser): Promise<void> {
  const { accessKeyId: access, secretAccessKey: secret } = user;
  const admin = ["admin", ...flags({ ...ROOT_USER, "endpoint-url": endpoint })];
  const created = ["create-user", ...flags({ access, secret, role: "userplus" })];
  await output(["versitygw", ...admin, ...created]);
}

function flags(values: Readonly<Record<string, string>>): string[] {
  return Object.entries(values).flatMap(([name, value]) => [`--${name}`, value]);
}
