// Goal: the command line as a person and a script meet it: output, exit codes, one line per failure.
// Method: the real program as a process, from source, with an environment of its own.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { COMMANDS } from "../../src/cli/root.ts";

const MAIN = join(import.meta.dir, "../../src/main.ts");

interface Outcome {
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
  /** Lines of standard error that are complaints, without their mark. */
  readonly errors: readonly string[];
}

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "tag-cli-"));
});
afterAll(async () => rm(folder, { recursive: true, force: true }));

interface Surroundings {
  readonly env?: Readonly<Record<string, string>>;
  readonly input?: string;
}

async function tag(
  line: string | readonly string[],
  { env, input }: Surroundings = {},
): Promise<Outcome> {
  const words = typeof line === "string" ? line.split(" ").filter((word) => word !== "") : line;
  const child = Bun.spawn([process.execPath, MAIN, ...words], {
    cwd: folder,
    env: { PATH: process.env["PATH"] ?? "", HOME: folder, ...env },
    stdin: input === undefined ? "ignore" : new Blob([input]),
    stdout: "pipe",
    stderr: "pipe",
  });
  const [exitCode, stdout, stderr] = await Promise.all([
    child.exited,
    child.stdout.text(),
    child.stderr.text(),
  ]);
  const errors = [...stderr.matchAll(/^\[error\] (.*)$/gm)].map(([, text = ""]) => text);
  return { exitCode, stdout, stderr, errors };
}

async function write(name: string, text: string): Promise<string> {
  const path = join(folder, name);
  await Bun.write(path, text);
  return path;
}

const CREDENTIALS = { AWS_ACCESS_KEY_ID: "tid_test", AWS_SECRET_ACCESS_KEY: "tsec_test" };

describe("help", () => {
  test.each(Object.keys(COMMANDS))("tag %s --help exits 0 and ends with examples", async (name) => {
    const { exitCode, stdout, stderr } = await tag(`${name} --help`);
    expect([exitCode, stderr]).toEqual([0, ""]);
    expect(stdout).toContain(`USAGE tag ${name}`);
    expect(stdout).toMatch(/EXAMPLES\n\n {2}(?:\w+=\S+ )?tag /);
  });

  test.each(["--help", "-h", "help"])("tag %s lists every command", async (word) => {
    const { exitCode, stdout } = await tag(word);
    expect(exitCode).toBe(0);
    for (const name of Object.keys(COMMANDS)) expect(stdout).toContain(` ${name} `);
    expect(stdout).toContain("TAG_*");
  });

  test("--version prints the four lines of the original before anything is read", async () => {
    const { exitCode, stdout } = await tag("--version --config /nope");
    expect(exitCode).toBe(0);
    expect(stdout).toMatch(
      /^TAG \(Tigris Acceleration Gateway\)\n {2}Version: {4}\S+\n {2}Build Time: \S+\n {2}Git Commit: \S+\n$/,
    );
    expect(JSON.parse((await tag("version --json")).stdout)).toHaveProperty("version");
  });
});

describe("a wrong command line exits 2 with one line", () => {
  test.each([
    ["serv", "unknown command tag serv, did you mean tag serve?"],
    ["frobnicate", "unknown command tag frobnicate"],
    ["config lnt", "unknown command tag config lnt, did you mean tag config lint?"],
    ["serve --http-prt 80", "unknown flag --http-prt, did you mean --http-port?"],
    ["--http-prt 80", "unknown flag --http-prt, did you mean --http-port?"],
    ["serve now", 'unexpected argument "now"'],
    ["--http-port abc", '--http-port: server.http_port: "abc" is not a whole number'],
    ["--http-port -5", "--http-port: server.http_port: -5 is out of range; allowed is 0 to 65535"],
    ["serve --listen 8080", "--listen 8080 is not HOST:PORT"],
    ["serve --listen :1 --http-port 2", "--listen :1 and --http-port 2 name different ports"],
    ["serve --verbose --log-level info", "--verbose and --log-level exclude each other"],
    ["cache stats --json --prometheus", "--json and --prometheus exclude each other"],
    ["health --timeout soon", "--timeout soon is not a duration, write for example 3s"],
  ])("tag %s", async (line, message) => {
    const { exitCode, stdout, errors } = await tag(line);
    expect(errors).toEqual([message]);
    expect([exitCode, stdout]).toEqual([2, ""]);
  });
});

describe("tag config", () => {
  test("init writes a file that lints clean, and never replaces one unasked", async () => {
    expect((await tag("config init new/tag.yaml")).exitCode).toBe(0);
    const lint = await tag("config lint --strict new/tag.yaml");
    expect([lint.exitCode, lint.stdout]).toEqual([0, "new/tag.yaml: ok\n"]);

    await write("new/tag.yaml", "# mine\n");
    const again = await tag("config init new/tag.yaml");
    expect(again.exitCode).toBe(3);
    expect(again.errors).toEqual(["new/tag.yaml is already there; --force replaces it"]);
    expect(await Bun.file(join(folder, "new/tag.yaml")).text()).toBe("# mine\n");
    expect((await tag("config init --force new/tag.yaml")).exitCode).toBe(0);
    expect((await tag("config init -")).stdout).toContain("# http_port: 8080");
  });

  test("lint tells good, unreadable, malformed and refused files apart", async () => {
    await write("ok.yaml", "cache: {ttl: 5m}\n");
    await write("parse.yaml", "cache:\n  ttll: 1h\n");
    await write("bad.yaml", "server: {tls_cert_file: c.pem}\n");
    const results = [];
    for (const name of ["ok", "io", "parse", "bad"]) {
      results.push((await tag(`config lint ${name}.yaml`)).exitCode);
    }
    expect(results).toEqual([0, 3, 4, 6]);
    expect((await tag("config lint parse.yaml")).errors).toEqual([
      "parse.yaml:2:3: cache.ttll: unknown key; did you mean cache.ttl?",
    ]);
  });

  test("lint reads standard input, and speaks JSON", async () => {
    const { exitCode, stdout } = await tag("config lint --json -", { input: "cache: {ttl: 60}\n" });
    expect(exitCode).toBe(4);
    expect(JSON.parse(stdout)).toMatchObject([
      { level: "error", code: "malformed", exit: 4, path: "cache.ttl", line: 1, column: 14 },
    ]);
  });

  test("lint judges warnings only with --strict, and the environment not with --no-env", async () => {
    await write("warn.yaml", "server: {pprof_enabled: true}\n");
    expect((await tag("config lint warn.yaml")).stdout).toBe("warn.yaml: ok with 1 warning\n");
    expect((await tag("config lint warn.yaml --strict")).exitCode).toBe(6);
    const env = { TAG_CACHE_TTL: "soon" };
    await write("ok.yaml", "cache: {ttl: 5m}\n");
    expect((await tag("config lint ok.yaml", { env })).exitCode).toBe(4);
    expect((await tag("config lint ok.yaml --no-env", { env })).exitCode).toBe(0);
  });

  test("show gives value and source of every setting, and no secret", async () => {
    await write("show.yaml", "cache:\n  ttl: 5m\ncredentials:\n  secret_access_key: hush\n");
    const env = { TAG_CACHE_DISK_PATH: "/elsewhere", AWS_ACCESS_KEY_ID: "visible" };
    const { stdout } = await tag("config show --config show.yaml --http-port 99", { env });
    expect(stdout).toMatch(/^cache\.ttl +5m +show\.yaml:2:8$/m);
    expect(stdout).toMatch(/^cache\.disk_path +\/elsewhere +env TAG_CACHE_DISK_PATH$/m);
    expect(stdout).toMatch(/^server\.http_port +99 +flag --http-port$/m);
    expect(stdout).toMatch(/^log\.level +info +default$/m);
    expect(stdout).toMatch(/^credentials\.secret_access_key +fp:[0-9a-f]{8} +show\.yaml:4:22$/m);
    expect(stdout).not.toContain("hush");
    const { options } = JSON.parse(
      (await tag("config show --json --changed --http-port 99")).stdout,
    ) as {
      options: unknown;
    };
    expect(options).toEqual([
      { path: "server.http_port", value: "99", source: "flag --http-port" },
    ]);
  });

  test("which explains the choice, schema is JSON", async () => {
    await write("ok.yaml", "");
    const { stdout } = await tag("config which --config ok.yaml");
    expect(stdout).toContain("-> --config");
    expect(stdout).toContain(`Reads ${join(folder, "ok.yaml")}`);
    expect(JSON.parse((await tag("config schema")).stdout)).toHaveProperty("properties.cache");
  });
});

describe("tag serve refuses to start with one clear line", () => {
  test.each([
    [
      "an unknown key",
      { yaml: "cache: {ttll: 1h}\n" },
      4,
      /^f\.yaml:1:9: cache\.ttll: unknown key; did you mean cache\.ttl\?$/,
    ],
    [
      "a port that is no number",
      { env: { TAG_HTTP_PORT: "abc" } },
      4,
      /^TAG_HTTP_PORT: server\.http_port: "abc" is not a whole number$/,
    ],
    [
      "a port out of range",
      { env: { TAG_HTTP_PORT: "70000" } },
      6,
      /^TAG_HTTP_PORT: server\.http_port: 70000 is out of range; allowed is 0 to 65535$/,
    ],
    ["a file that is missing", { line: "--config nope.yaml" }, 3, /^nope\.yaml: no such file$/],
    [
      "a TAG_CONFIG that is missing",
      { env: { TAG_CONFIG: "/nope" } },
      3,
      /^\/nope: no such file \(named by TAG_CONFIG\)$/,
    ],
    [
      "a missing credential",
      { env: { AWS_ACCESS_KEY_ID: "", AWS_SECRET_ACCESS_KEY: "" } },
      7,
      /set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY/,
    ],
    [
      "an endpoint of somebody else",
      { env: { TAG_UPSTREAM_ENDPOINT: "https://s3.amazonaws.com" } },
      6,
      /not allowed in transparent proxy mode/,
    ],
  ] as const)(
    "%s",
    async (
      _,
      given: { yaml?: string; env?: Record<string, string>; line?: string },
      code,
      message,
    ) => {
      const line = given.yaml === undefined ? (given.line ?? "") : "--config f.yaml";
      if (given.yaml !== undefined) await write("f.yaml", given.yaml);
      const { exitCode, errors } = await tag(`serve ${line}`, {
        env: { ...CREDENTIALS, TAG_CACHE_DISK_PATH: join(folder, "cache"), ...given.env },
      });
      expect(errors).toHaveLength(1);
      expect(errors[0]).toMatch(message);
      expect(exitCode).toBe(code);
    },
  );

  test("a busy port, with the flag that changes it", async () => {
    using busy = Bun.serve({ port: 0, hostname: "127.0.0.1", fetch: () => new Response() });
    const { exitCode, errors } = await tag("serve --read-port 0", {
      env: {
        ...CREDENTIALS,
        TAG_BIND_IP: "127.0.0.1",
        TAG_HTTP_PORT: String(busy.port),
        TAG_CACHE_DISK_PATH: join(folder, "cache-busy"),
      },
    });
    expect(errors).toEqual([
      `port ${busy.port} on 127.0.0.1 is in use: stop the other program or choose another port with --http-port or TAG_HTTP_PORT`,
    ]);
    expect(exitCode).toBe(1);
  });

  test("a cache folder that cannot be written, with the setting that changes it", async () => {
    // Root may write everywhere, but not below a file.
    const path = join(await write("a-file", ""), "cache");
    const { exitCode, errors } = await tag("serve --http-port 0 --read-port 0", {
      env: { ...CREDENTIALS, TAG_CACHE_DISK_PATH: path },
    });
    expect(errors).toHaveLength(1);
    expect(errors[0]).toStartWith(
      `cannot use the cache folder ${path}: a part of the path is not a folder; `,
    );
    expect(exitCode).toBe(3);
  });
});
