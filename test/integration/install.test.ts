// Goal: install.sh installs exactly the published bytes, or says in one line why not and leaves
// everything as it was.
// Method: a release folder on a local web server, holding a stand-in program that answers like the
// real one; every failure is then compared with the untouched folder. The last test installs the
// compiled binary.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { chmod, mkdir, mkdtemp, readdir, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import packageJson from "../../package.json" with { type: "json" };
import { BINARY } from "../support/binary.ts";

const INSTALLER = join(import.meta.dir, "../../install.sh");

const FILE = `tag-${process.platform}-${process.arch === "x64" ? "amd64" : process.arch}`;

const STAND_IN = `#!/bin/sh
case "$*" in
  --version) printf 'TAG (Tigris Acceleration Gateway)\\n  Version:    9.9.9\\n' ;;
  'config init -') echo 'server:'; echo '  http_port: 8080' ;;
  *) exit 2 ;;
esac
`;

let folder: string;
let release: string;
let server: ReturnType<typeof Bun.serve>;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "tag-install-"));
  release = join(folder, "release/v9.9.9");
  await mkdir(release, { recursive: true });
  server = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    async fetch(request) {
      const file = Bun.file(join(folder, "release", new URL(request.url).pathname));
      return (await file.exists()) ? new Response(file) : new Response("no", { status: 404 });
    },
  });
  await publish(STAND_IN);
});

afterAll(async () => {
  await server.stop(true);
  await rm(folder, { recursive: true });
});

async function publish(program: string | Uint8Array, listed?: string): Promise<void> {
  await Bun.write(join(release, FILE), program);
  const sum = new Bun.CryptoHasher("sha256").update(program).digest("hex");
  await Bun.write(join(release, "SHA256SUMS"), listed ?? `${sum}  ${FILE}\n`);
}

interface Run {
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
  /** Names in the installation folder afterwards; undefined when there is no such folder. */
  readonly installed: readonly string[] | undefined;
  readonly installDir: string;
  readonly config: string;
}

/** Runs the installer with a fresh target below `folder`, which `prepare` may change first. */
async function install(
  env: Record<string, string> = {},
  prepare: (installDir: string, config: string) => Promise<void> = async () => {},
): Promise<Run> {
  const home = await mkdtemp(join(folder, "home-"));
  const installDir = env["INSTALL_DIR"] ?? join(home, "bin");
  const config = env["TAG_CONFIG"] ?? join(home, "etc/tag.yaml");
  await prepare(installDir, config);
  const child = Bun.spawn(["sh", INSTALLER], {
    env: {
      PATH: process.env["PATH"] ?? "",
      TAG_RELEASE_URL: server.url.href,
      TAG_VERSION: "v9.9.9",
      INSTALL_DIR: installDir,
      TAG_CONFIG: config,
      ...env,
    },
    stdout: "pipe",
    stderr: "pipe",
  });
  const [stdout, stderr] = await Promise.all([child.stdout.text(), child.stderr.text()]);
  const exitCode = await child.exited;
  const installed = await readdir(installDir).catch(() => undefined);
  return { exitCode, stdout, stderr, installed, installDir, config };
}

describe("a good release", () => {
  test("is installed, with a default configuration and the next steps", async () => {
    const run = await install();
    expect(run.stderr).toBe("");
    expect(run.exitCode).toBe(0);
    expect(run.installed).toEqual(["tag"]);
    expect(await Bun.file(join(run.installDir, "tag")).text()).toBe(STAND_IN);
    expect(await Bun.file(run.config).text()).toContain("http_port: 8080");
    expect(run.stdout).toContain("Installed TAG 9.9.9");
    expect(run.stdout).toContain(`serve --config ${run.config}`);
  });

  test("replaces an older binary and keeps the configuration that is there", async () => {
    const run = await install({}, async (installDir, config) => {
      await mkdir(installDir, { recursive: true });
      await mkdir(join(config, ".."), { recursive: true });
      await writeFile(join(installDir, "tag"), "old");
      await writeFile(config, "mine");
    });
    expect(run.exitCode).toBe(0);
    expect(await Bun.file(join(run.installDir, "tag")).text()).toBe(STAND_IN);
    expect(await Bun.file(run.config).text()).toBe("mine");
    expect(run.stdout).toContain("Kept your configuration");
  });

  test("is installed alone when no configuration is wanted", async () => {
    const run = await install({ TAG_CONFIG: "none" });
    expect(run.exitCode).toBe(0);
    expect(run.stdout).not.toContain("--config");
  });

  test.skipIf(Bun.which("wget") === null)(
    "is installed with wget where there is no curl",
    async () => {
      const run = await install({ PATH: await toolsOnly(["wget"]) });
      expect(run.stderr).toBe("");
      expect(run.exitCode).toBe(0);
    },
  );
});

describe("a failure is one clear line and changes nothing", () => {
  /** Asserts the message, and that neither a binary nor a configuration nor a left-over exists. */
  async function expectRefused(run: Run, message: string): Promise<void> {
    expect(run.stderr).toStartWith("install.sh: ");
    expect(run.stderr.trimEnd()).not.toContain("\n");
    expect(run.stderr).toContain(message);
    expect(run.exitCode).toBe(1);
    expect(run.stdout).toBe("");
    expect(await Bun.file(run.config).exists()).toBe(false);
  }

  test("wrong checksum", async () => {
    await publish(STAND_IN, `${"0".repeat(64)}  ${FILE}\n`);
    try {
      const run = await install();
      await expectRefused(run, "damaged or not the published one");
      expect(run.installed).toBeUndefined();
    } finally {
      await publish(STAND_IN);
    }
  });

  test("wrong checksum over an older binary, which stays", async () => {
    await publish(STAND_IN, `${"0".repeat(64)}  ${FILE}\n`);
    try {
      const run = await install({}, async (installDir) => {
        await mkdir(installDir);
        await writeFile(join(installDir, "tag"), "old");
      });
      await expectRefused(run, "damaged or not the published one");
      expect(run.installed).toEqual(["tag"]);
      expect(await Bun.file(join(run.installDir, "tag")).text()).toBe("old");
    } finally {
      await publish(STAND_IN);
    }
  });

  test("a release that does not list this platform", async () => {
    await publish(STAND_IN, `${"0".repeat(64)}  tag-plan9-mips\n`);
    try {
      const run = await install();
      await expectRefused(run, `does not list ${FILE}`);
      expect(run.installed).toBeUndefined();
    } finally {
      await publish(STAND_IN);
    }
  });

  test("a binary that is listed but missing", async () => {
    await rm(join(release, FILE));
    try {
      const run = await install();
      await expectRefused(run, `cannot download ${server.url.href}v9.9.9/${FILE}`);
      expect(run.installed).toBeUndefined();
    } finally {
      await publish(STAND_IN);
    }
  });

  test("an unknown version", async () => {
    const run = await install({ TAG_VERSION: "v0.0.0" });
    await expectRefused(run, "v0.0.0/SHA256SUMS");
    expect(run.installed).toBeUndefined();
  });

  test("a server that does not answer", async () => {
    const run = await install({ TAG_RELEASE_URL: "http://127.0.0.1:1" });
    await expectRefused(run, "cannot download http://127.0.0.1:1/");
    expect(run.installed).toBeUndefined();
  });

  test("no release server known", async () => {
    await expectRefused(await install({ TAG_RELEASE_URL: "" }), "set TAG_RELEASE_URL");
  });

  test("a target below a file cannot be written", async () => {
    const inTheWay = join(folder, "in-the-way");
    await writeFile(inTheWay, "");
    const run = await install({ INSTALL_DIR: join(inTheWay, "bin") });
    await expectRefused(run, "choose another place with INSTALL_DIR");
  });

  test("a target that is a read-only file system", async () => {
    const run = await install({ INSTALL_DIR: "/proc" });
    await expectRefused(run, "cannot write to /proc");
  });

  test("a folder where the binary should go", async () => {
    const run = await install({}, async (installDir) => {
      await mkdir(join(installDir, "tag"), { recursive: true });
    });
    await expectRefused(run, "is a folder");
    expect(run.installed).toEqual(["tag"]);
  });

  test("a configuration that cannot be written leaves no binary either", async () => {
    const inTheWay = join(folder, "in-the-way-too");
    await writeFile(inTheWay, "");
    const run = await install({ TAG_CONFIG: join(inTheWay, "tag.yaml") });
    await expectRefused(run, "choose another place with TAG_CONFIG");
    expect(run.installed).toBeUndefined();
  });

  test("a binary that does not run here", async () => {
    await publish("not a program");
    try {
      const run = await install();
      await expectRefused(run, "does not run on this machine");
      expect(run.installed).toBeUndefined();
    } finally {
      await publish(STAND_IN);
    }
  });

  test("an unsupported processor", async () => {
    const tools = await toolsOnly(["curl"], {
      uname: "case $1 in -s) echo Linux;; *) echo mips;; esac",
    });
    await expectRefused(await install({ PATH: tools }), "no build for Linux on mips");
  });

  test("neither curl nor wget", async () => {
    await expectRefused(await install({ PATH: await toolsOnly([]) }), "needs curl or wget");
  });
});

test("the compiled binary is installed from a release folder and writes its configuration", async () => {
  const binary = await Bun.file(BINARY).bytes();
  await publish(binary);
  try {
    const run = await install();
    expect(run.stderr).toBe("");
    expect(run.exitCode).toBe(0);
    expect(run.stdout).toContain(`Installed TAG ${packageJson.version}`);
    const lint = Bun.spawnSync([join(run.installDir, "tag"), "config", "lint", run.config]);
    expect(lint.exitCode).toBe(0);
  } finally {
    await publish(STAND_IN);
  }
});

/** A PATH with the standard tools the installer needs, `extra`, and the given stand-in programs. */
async function toolsOnly(
  extra: readonly string[],
  standIns: Record<string, string> = {},
): Promise<string> {
  const path = await mkdtemp(join(folder, "path-"));
  const needed = "sh uname mkdir mktemp awk cut chmod dirname mv rm rmdir sha256sum cat".split(" ");
  for (const name of [...needed, ...extra]) {
    const at = Bun.which(name);
    if (at === null) throw new Error(`this machine has no ${name}`);
    if (!(name in standIns)) await symlink(at, join(path, name));
  }
  for (const [name, body] of Object.entries(standIns)) {
    await writeFile(join(path, name), `#!/bin/sh\n${body}\n`);
    await chmod(join(path, name), 0o755);
  }
  return path;
}
