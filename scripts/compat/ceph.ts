/**
 * Ceph's object gateway on one monitor and one object store in memory: the server the suite was
 * written for, so the one that passes most of it. The programs come from the packages ceph-mon,
 * ceph-osd, ceph-common and radosgw.
 *
 * Everything lies in one folder and listens on the loopback interface; nothing is kept. The
 * processes stay in the foreground (`-f`), so that they are our children and end with us.
 */

import { mkdir } from "node:fs/promises";
import { join } from "node:path";

import { OWN_USERS, renderConf, type SuiteUser } from "./conf.ts";
import { freePort, output, type Server, untilListening } from "./process.ts";

const MONITOR_CAPS = ["--cap", "mon", "allow *"];
const DAEMON_CAPS = [...MONITOR_CAPS, "--cap", "osd", "allow *", "--cap", "mgr", "allow *"];
/** Ceph puts users into tenants on request, and the suite wants one outside of the default. */
const TENANT = "testx";

/** An assertion of its own fails in Ceph 16.2. */
const CRASHES = ["test_s3.py::test_upload_part_copy_percent_encoded_key"];

/** Starts a cluster below `folder`. Rejects when a program is missing or does not start. */
export async function startCeph(folder: string): Promise<Server> {
  const cluster = new Cluster(folder, `127.0.0.1:${await freePort()}`);
  const endpoint = `http://127.0.0.1:${await freePort()}`;
  try {
    await cluster.start(endpoint);
    for (const user of OWN_USERS) await cluster.addUser(user);
    const version = await output(["ceph", "--version"]);
    return {
      name: `Ceph RGW ${/\d+\.\d+\.\d+/.exec(version)?.[0] ?? ""}`,
      conf: renderConf(endpoint, OWN_USERS, { tenant: TENANT, locationConstraint: "default" }),
      proxyAccess: undefined,
      crashedBy: CRASHES,
      [Symbol.asyncDispose]: () => cluster.stop(),
    };
  } catch (error) {
    await cluster.stop();
    throw error;
  }
}

class Cluster {
  readonly #folder: string;
  readonly #monitorAddress: string;
  readonly #children: Bun.Subprocess[] = [];

  constructor(folder: string, monitorAddress: string) {
    this.#folder = folder;
    this.#monitorAddress = monitorAddress;
  }

  async start(endpoint: string): Promise<void> {
    const clusterId = crypto.randomUUID();
    const storeId = crypto.randomUUID();
    for (const name of ["mon", "osd", "run", "log"]) {
      await mkdir(this.#path(name), { recursive: true });
    }
    await Bun.write(this.#path("ceph.conf"), this.#conf(clusterId, endpoint));
    await this.#makeKeys();

    const map = this.#path("monmap");
    const address = `[v2:${this.#monitorAddress}]`;
    await output(["monmaptool", "--create", "--addv", "a", address, "--fsid", clusterId, map]);
    const keys = ["--monmap", map, "--keyring", this.#path("keyring")];
    await this.#run("ceph-mon", "-i", "a", "--mkfs", ...keys);
    this.#spawn("ceph-mon", "-f", "-i", "a");

    await this.#run("ceph", "osd", "new", storeId);
    await this.#run("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", storeId);
    this.#spawn("ceph-osd", "-f", "-i", "0");

    const gateway = this.#spawn("radosgw", "-f", "-n", "client.rgw");
    await untilListening(endpoint, () => gateway.exitCode !== null, 120_000);
  }

  async addUser({ section, accessKeyId, secretAccessKey }: SuiteUser): Promise<void> {
    const user = ["--uid", accessKeyId, "--display-name", accessKeyId];
    const contact = ["--email", `${accessKeyId}@example.com`];
    const pair = ["--access-key", accessKeyId, "--secret", secretAccessKey];
    const tenant = section === "s3 tenant" ? ["--tenant", TENANT] : [];
    await this.#run("radosgw-admin", "user", "create", ...user, ...contact, ...pair, ...tenant);
  }

  /** In reverse, so that nobody waits for somebody who is gone. */
  async stop(): Promise<void> {
    for (const child of this.#children.toReversed()) {
      child.kill("SIGKILL"); // nothing is kept
      await child.exited;
    }
  }

  async #makeKeys(): Promise<void> {
    const keyring = this.#path("keyring");
    const make = (name: string, caps: readonly string[]) =>
      output(["ceph-authtool", keyring, "--gen-key", "-n", name, ...caps]);
    await output(["ceph-authtool", keyring, "--create-keyring"]);
    await make("mon.", MONITOR_CAPS);
    for (const name of ["client.admin", "client.rgw", "osd.0"]) await make(name, DAEMON_CAPS);
  }

  #conf(clusterId: string, endpoint: string): string {
    return `[global]
fsid = ${clusterId}
mon host = [v2:${this.#monitorAddress}]
mon initial members = a
keyring = ${this.#path("keyring")}
public addr = 127.0.0.1
cluster addr = 127.0.0.1
run dir = ${this.#path("run")}
admin socket = ${this.#path("run")}/$name.asok
log file = ${this.#path("log")}/$name.log
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 8
osd pool default pgp num = 8
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
mon allow pool size one = true
mon max pg per osd = 2000
mon data avail crit = 1
[mon.a]
mon data = ${this.#path("mon")}
[osd]
osd data = ${this.#path("osd")}
osd objectstore = memstore
memstore device bytes = 8589934592
[client.rgw]
rgw frontends = beast endpoint=${new URL(endpoint).host}
rgw run sync thread = false
rgw crypt require ssl = false
rgw crypt s3 kms backend = testing
rgw crypt s3 kms encryption keys = testkey-1=${testKey(1)} testkey-2=${testKey(2)}
`;
  }

  #path(name: string): string {
    return join(this.#folder, name);
  }

  #run(program: string, ...args: readonly string[]): Promise<string> {
    return output([program, "-c", this.#path("ceph.conf"), ...args]);
  }

  #spawn(program: string, ...args: readonly string[]): Bun.Subprocess {
    const log = Bun.file(this.#path(`log/${program}.out`));
    const child = Bun.spawn([program, "-c", this.#path("ceph.conf"), ...args], {
      stdin: "ignore",
      stdout: log,
      stderr: log,
    });
    this.#children.push(child);
    return child;
  }
}

/** A key of 256 bits for Ceph's testing backend of KMS, base64. */
function testKey(number: number): string {
  return Buffer.alloc(32, number).toString("base64");
}
