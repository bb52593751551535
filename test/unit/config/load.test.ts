// Goal: the configuration that results from file, environment and flags, and every complaint.
// Method: loadConfig on files that exist only in memory.

import { describe, expect, test } from "bun:test";

import type { ConfigFiles } from "../../../src/config/find-file.ts";
import type { LoadRequest } from "../../../src/config/load.ts";
import { loadConfig } from "../../../src/config/load.ts";
import { OPTION_ROWS, OPTIONS, optionValue } from "../../../src/config/options.ts";
import { formatProblem, formatSource } from "../../../src/config/problem.ts";
import { missingCredentials } from "../../../src/config/validate.ts";

function filesOf(contents: Readonly<Record<string, string>>): ConfigFiles {
  return {
    exists: (path) => Object.hasOwn(contents, path),
    read: (path) => {
      const text = contents[path];
      if (text === undefined) throw Object.assign(new Error("gone"), { code: "ENOENT" });
      return text;
    },
  };
}

interface Given extends Partial<LoadRequest> {
  readonly yaml?: string;
}

function load({ yaml, ...request }: Given = {}) {
  return loadConfig({
    env: {},
    cwd: "/work",
    files: filesOf(yaml === undefined ? {} : { "/work/tag.yaml": yaml }),
    ...request,
  });
}

async function good(given: Given) {
  const result = await load(given);
  if (result.kind === "failed") throw new Error(result.problems.map(formatProblem).join("\n"));
  return result;
}

/** The lines a person would read. */
async function complaints(given: Given): Promise<readonly string[]> {
  const result = await load(given);
  return (result.kind === "failed" ? result.problems : result.warnings).map(formatProblem);
}

describe("precedence", () => {
  const yaml = "server: {http_port: 1}\ncache: {ttl: 1m, enabled: false}\n";

  test("without anything, every option has its default", async () => {
    const { config, sources } = await good({});
    for (const [path, option] of OPTION_ROWS) {
      expect([path, optionValue(config, path)]).toEqual([path, option.default]);
    }
    expect(sources.size).toBe(0);
  });

  test("defaults are the original's, but for the ones decided otherwise", async () => {
    const { config } = await good({});
    expect(config.server.httpPort).toBe(8080);
    expect(config.cache.ttlMs).toBe(3_600_000); // A11: 60 minutes
    expect(config.cache.sizeThresholdBytes).toBe(1_073_741_824);
    expect(config.cache.diskPath).toBe("/var/cache/tag");
    expect(config.upstream.endpoint).toBe("https://t3.storage.dev");
    expect(config.credentials.authzCacheTtlMs).toBe(600_000);
    expect(config.server.idleTimeoutMs).toBeGreaterThanOrEqual(65_000); // DG-52
  });

  test("a file wins over defaults, a variable over the file, a flag over both", async () => {
    const file = await good({ yaml });
    expect(file.config.server.httpPort).toBe(1);
    expect(file.config.cache.ttlMs).toBe(60_000);

    const env = { TAG_HTTP_PORT: "2" };
    expect((await good({ yaml, env })).config.server.httpPort).toBe(2);

    const flags = [{ path: "server.http_port", text: "3", flag: "--http-port" }] as const;
    const { config, sources } = await good({ yaml, env, flags });
    expect(config.server.httpPort).toBe(3);
    expect(formatSource(sources.get("server.http_port") ?? { kind: "default" })).toBe(
      "flag --http-port",
    );
    expect(formatSource(sources.get("cache.ttl") ?? { kind: "default" })).toBe("./tag.yaml:2:14");
  });

  test("a command's own default stands below the file", async () => {
    const preset = {
      command: "tag dev",
      values: { "cache.ttl": "5m", "log.format": "console" },
    } as const;
    const { config, sources } = await good({ yaml, preset });
    expect(config.cache.ttlMs).toBe(60_000);
    expect(config.log.format).toBe("console");
    expect(formatSource(sources.get("log.format") ?? { kind: "default" })).toBe(
      "default of tag dev",
    );
  });

  test("an empty variable is no variable", async () => {
    const { config } = await good({ yaml, env: { TAG_HTTP_PORT: "", TAG_CACHE_TTL: " " } });
    expect([config.server.httpPort, config.cache.ttlMs]).toEqual([1, 60_000]);
  });

  test("TAG_CACHE_DISABLED says the opposite of cache.enabled, in both directions", async () => {
    expect((await good({ env: { TAG_CACHE_DISABLED: "1" } })).config.cache.enabled).toBe(false);
    expect((await good({ yaml, env: { TAG_CACHE_DISABLED: "false" } })).config.cache.enabled).toBe(
      true,
    );
  });
});

describe("which file", () => {
  const both = filesOf({ "/work/tag.yml": "{}", "/etc/tag/config.yaml": "{}", "/x.yaml": "{}" });

  test("the first of the list is read and the others are named as ignored", async () => {
    const result = await load({ files: both });
    expect(result.found).toMatchObject({ name: "./tag.yml", because: "search list" });
    expect(await complaints({ files: both })).toEqual([
      "/etc/tag/config.yaml: is not read, because ./tag.yml comes first",
    ]);
  });

  test("TAG_CONFIG wins over the list, and --config over TAG_CONFIG", async () => {
    const env = { TAG_CONFIG: "/x.yaml" };
    expect((await load({ files: both, env })).found.because).toBe("TAG_CONFIG");
    const found = (await load({ files: both, env, configPath: "tag.yml" })).found;
    expect(found).toMatchObject({ path: "/work/tag.yml", because: "--config" });
  });

  test("a named file that is missing is an error, never a reason to take another", async () => {
    expect(await complaints({ files: both, configPath: "/nope.yaml" })).toEqual([
      "/nope.yaml: no such file",
    ]);
    expect(await complaints({ files: both, env: { TAG_CONFIG: "/nope" } })).toEqual([
      "/nope: no such file (named by TAG_CONFIG)",
    ]);
  });

  test("without searching, only named files count", async () => {
    expect((await load({ files: both, isSearching: false })).found.because).toBe("none found");
    expect(
      (await load({ files: both, isSearching: false, configPath: "/x.yaml" })).found.path,
    ).toBe("/x.yaml");
  });

  test("a TOML file is refused with the cure", async () => {
    expect(await complaints({ files: filesOf({ "/work/tag.toml": "a = 1" }) })).toEqual([
      "./tag.toml: TOML is not supported; write the same keys as YAML into tag.yaml",
    ]);
  });
});

describe("a file with mistakes", () => {
  test("has all of them reported at once, with line, key and the nearest valid name", async () => {
    const yaml = [
      "server:",
      "  http_port: abc",
      "  http_port: 9",
      "cache:",
      "  ttll: 1h",
      "  size_threshold: 100M",
      "http_port: 3",
      "upstreem:",
      "  region: x",
      "log: 3",
      "broadcast:",
      "  chunk_size: [1]",
    ].join("\n");
    expect(await complaints({ yaml, env: { TAG_CACHE_TTL: "soon" } })).toEqual([
      './tag.yaml:2:14: server.http_port: "abc" is not a whole number',
      "./tag.yaml:3:3: server.http_port: repeated key, first given in line 2",
      "./tag.yaml:5:3: cache.ttll: unknown key; did you mean cache.ttl?",
      './tag.yaml:6:19: cache.size_threshold: "100M" is not a size; write bytes, or a number with KiB, MiB, GiB, KB, MB or GB',
      "./tag.yaml:7:1: http_port: unknown key; did you mean server.http_port?",
      "./tag.yaml:8:1: upstreem: unknown key; did you mean upstream?",
      "./tag.yaml:10:6: log: must be a map of keys and values",
      "./tag.yaml:12:15: broadcast.chunk_size: must be a single value, not a list",
      'TAG_CACHE_TTL: cache.ttl: "soon" is not a duration; write a number with its unit, as in 500ms, 10s or 1h30m',
    ]);
  });

  test("that is not YAML is reported with its line and without an excerpt", async () => {
    const lines = await complaints({
      yaml: 'credentials:\n  secret_access_key: "hush\nserver: [1\n',
    });
    expect(lines.length).toBeGreaterThan(0);
    for (const line of lines) {
      expect(line).toMatch(/^\.\/tag\.yaml:\d+:\d+: not valid YAML: /);
      expect(line).not.toContain("hush");
    }
  });

  test.each([
    ["- a\n", /must be a map/, "a list at the top"],
    ["a: 1\n---\nb: 2\n", /more than one YAML document/, "two documents"],
    ["a: &x [*x]\n", /./, "an alias of itself"],
    ["cache: {ttl: .nan}\n", /not a duration/, "not a number"],
    ["server: {http_port: .inf}\n", /not a whole number/, "infinity"],
    ["server: {http_port: 0x50}\n", /not a whole number/, "another base"],
    ["cache: {seed_nodes: {a: 1}}\n", /must be a list, not a map/, "a map for a list"],
    ["cache: {disk_path: {a: 1}}\n", /must be a single value, not a map/, "a map for a text"],
  ])("%j fails (%s)", async (yaml, message) => {
    expect((await load({ yaml })).kind).toBe("failed");
    expect((await complaints({ yaml })).join("\n")).toMatch(message);
  });

  test.each(["", "# only a comment\n", "server:\ncache:\n", "server:\n  http_port:\n", "null\n"])(
    "%j is a file that sets nothing",
    async (yaml) => expect((await good({ yaml })).sources.size).toBe(0),
  );

  test("texts may look like numbers and numbers may be quoted", async () => {
    const { config } = await good({
      yaml: 'cache: {disk_path: 007}\nserver: {http_port: "99"}\nupstream: {transparent_proxy: "no", endpoint: http://a}\n',
    });
    expect(config.cache.diskPath).toBe("007");
    expect(config.server.httpPort).toBe(99);
    expect(config.upstream.transparentProxy).toBe(false);
  });

  test("anchors and aliases work", async () => {
    const { config } = await good({
      yaml: "cache: {ttl: &t 5m, stale_if_error: *t}\n",
    });
    expect(config.cache.staleIfErrorMs).toBe(300_000);
  });
});

describe("${env:…}", () => {
  const env = {
    HOST: "s3.example.com",
    EMPTY: "",
    INJECT: "x: {y: 1}",
    BREAK: "a\nb",
    DOLLAR: "${env:HOST}",
  };

  test.each([
    ["https://${env:HOST}/", "https://s3.example.com/", "a variable inside a text"],
    ["${env:NOPE:-fallback}", "fallback", "a default"],
    ["${env:EMPTY:-fallback}", "fallback", "a default for an empty variable"],
    ["a$$b", "a$b", "an escaped dollar"],
    ["a$b ${HOME} ${file:x}", "a$b ${HOME} ${file:x}", "what is not ours stays"],
    ["${env:DOLLAR}", "${env:HOST}", "what was expanded is not expanded again"],
    ["'${env:INJECT}'", "x: {y: 1}", "a variable cannot become YAML"],
  ])("%s becomes %s (%s)", async (written, expected) => {
    const { config } = await good({ yaml: `cache:\n  disk_path: ${written}\n`, env });
    expect(config.cache.diskPath).toBe(expected);
  });

  test("fails for a variable that is not set, or that would break a line", async () => {
    expect(await complaints({ yaml: "cache:\n  disk_path: ${env:NOPE}\n", env })).toEqual([
      "./tag.yaml:2:14: cache.disk_path: ${env:NOPE} is not set and has no default",
    ]);
    expect(await complaints({ yaml: "cache:\n  disk_path: ${env:BREAK}\n", env })).toEqual([
      "./tag.yaml:2:14: cache.disk_path: ${env:BREAK} contains control characters",
    ]);
  });

  test("may stand for a number", async () => {
    const { config } = await good({
      yaml: "server: {http_port: '${env:PORT}'}\n",
      env: { PORT: "81" },
    });
    expect(config.server.httpPort).toBe(81);
  });
});

describe("rules", () => {
  test("have a bucket, and settings with units", async () => {
    const yaml = `
cache:
  rules:
    - {bucket: "*", ttl: 5m, exclude: "**/*.tmp"}
    - bucket: models
      prefix: llama/
      pin: yes
    - {bucket: "logs-*", include: ["a/**", "b/**"], quota: 10GiB}
`;
    const { config } = await good({ yaml });
    const none = {
      prefix: "",
      include: undefined,
      exclude: undefined,
      ttlMs: undefined,
      quotaBytes: undefined,
      isPinned: false,
    };
    expect(config.cache.rules).toEqual([
      { ...none, bucket: "*", ttlMs: 300_000, exclude: ["**/*.tmp"] },
      { ...none, bucket: "models", prefix: "llama/", isPinned: true },
      { ...none, bucket: "logs-*", include: ["a/**", "b/**"], quotaBytes: 10 * 1024 ** 3 },
    ]);
  });

  test("are refused with the place of what is wrong, and its cure", async () => {
    const yaml = `
cache:
  rules:
    - {bucket: b, tll: 5m}
    - {ttl: 5m}
    - {bucket: b/p, ttl: 5m}
    - {bucket: b, prefix: p, quota: 1GiB}
    - {bucket: "b*", pin: true}
    - {bucket: b, pin: true, exclude: x}
    - {bucket: b}
    - {bucket: b, ttl: soon}
    - {bucket: b, quota: 0}
    - {bucket: b, include: "!x"}
    - b
    - {bucket: b, ttl: 1s, ttl: 2s}
`;
    expect(await complaints({ yaml })).toEqual([
      "./tag.yaml:4:19: cache.rules[0].tll: unknown key; did you mean ttl?",
      './tag.yaml:5:7: cache.rules[1]: needs a bucket; write a name, or "*" for every one',
      './tag.yaml:6:16: cache.rules[2].bucket: "b/p" is not a bucket; put what follows the slash under prefix',
      "./tag.yaml:7:37: cache.rules[3].quota: a quota is for whole buckets; give it in a rule without prefix",
      "./tag.yaml:8:27: cache.rules[4].pin: needs a bucket by its name, not a pattern; write one rule for each",
      "./tag.yaml:9:24: cache.rules[5].pin: cannot stand beside include or exclude; pin a prefix in a rule of its own",
      "./tag.yaml:10:16: cache.rules[6].bucket: the rule says nothing; give it include, exclude, ttl, quota or pin",
      './tag.yaml:11:24: cache.rules[7].ttl: "soon" is not a duration; write a number with its unit, as in 500ms, 10s or 1h30m',
      "./tag.yaml:12:26: cache.rules[8].quota: 0 is out of range; allowed is at least 1",
      './tag.yaml:13:28: cache.rules[9].include: "!x": a pattern cannot begin with !; write the rest of it under exclude',
      "./tag.yaml:14:7: cache.rules[10]: must be a rule: a map with bucket and settings",
      "./tag.yaml:15:28: cache.rules[11].ttl: repeated key, first given in line 15",
    ]);
  });

  test("that can do nothing are warned of", async () => {
    const yaml = `cache:
  max_disk_usage_bytes: 10GiB
  pinned_max_percent: 0
  rules: [{bucket: b, quota: 11GiB}, {bucket: c, pin: true}]
`;
    expect(await complaints({ yaml })).toEqual([
      "./tag.yaml:4:10: cache.rules: the quota of b is larger than cache.max_disk_usage_bytes and bounds nothing",
      "./tag.yaml:4:10: cache.rules: pins nothing, because cache.pinned_max_percent is 0",
    ]);
  });

  test("must be a list, and have no variable", async () => {
    expect(await complaints({ yaml: "cache: {rules: {bucket: b}}\n" })).toEqual([
      "./tag.yaml:1:16: cache.rules: must be a list of rules",
    ]);
    expect((await good({ yaml: "cache: {rules: }\n" })).config.cache.rules).toEqual([]);
  });
});

describe("key pairs", () => {
  const signing = "upstream: {transparent_proxy: false, endpoint: 'https://s3.example.com'}\n";

  test("are read with their rights and buckets", async () => {
    const { config } = await good({
      yaml: `${signing}credentials:
  pairs:
    - access_key_id: alice
      secret_access_key: \${env:ALICE}
    - access_key_id: bob
      secret_access_key: b
      buckets: [logs, data]
      rights: [read, write]
      session_token: t
      upstream_access_key_id: U
      upstream_secret_access_key: v
    - {access_key_id: carol, secret_access_key: c, rights: []}
`,
      env: { ALICE: "wonder" },
    });
    const [alice, bob, carol] = config.credentials.pairs;
    expect(alice).toMatchObject({ accessKeyId: "alice", buckets: ["*"], rights: ["own"] });
    expect(alice?.secretAccessKey.reveal()).toBe("wonder");
    expect(bob).toMatchObject({
      buckets: ["logs", "data"],
      rights: ["read", "write"],
      upstreamAccessKeyId: "U",
    });
    expect(bob?.upstreamSecretAccessKey?.reveal()).toBe("v");
    expect(carol?.rights).toEqual([]);
  });

  test.each([
    [
      "JSON",
      '[{"access_key_id": "a", "secret_access_key": "x"}, {"access_key_id": "b", "secret_access_key": "y", "buckets": ["logs"]}]',
    ],
    [
      "YAML",
      "- {access_key_id: a, secret_access_key: x}\n- access_key_id: b\n  secret_access_key: y\n  buckets: [logs]",
    ],
  ])("are read from a variable as %s, which replaces those of the file", async (_what, text) => {
    const { config, sources } = await good({
      yaml: `${signing}credentials: {pairs: [{access_key_id: c, secret_access_key: z}]}\n`,
      env: { TAG_CREDENTIALS_PAIRS: text },
    });
    const { pairs } = config.credentials;
    expect(pairs.map(({ accessKeyId }) => accessKeyId)).toEqual(["a", "b"]);
    expect(pairs.map(({ secretAccessKey }) => secretAccessKey.reveal())).toEqual(["x", "y"]);
    expect(pairs[1]?.buckets).toEqual(["logs"]);
    const source = sources.get("credentials.pairs");
    expect(source === undefined ? "" : formatSource(source)).toBe("env TAG_CREDENTIALS_PAIRS");
  });

  test.each([
    ["no list", "hush", "TAG_CREDENTIALS_PAIRS: credentials.pairs: must be a list of key pairs"],
    [
      "not YAML",
      '[{"access_key_id: hush',
      "TAG_CREDENTIALS_PAIRS: credentials.pairs: is neither YAML nor JSON",
    ],
    [
      "incomplete",
      '[{"secret_access_key": "hush"}]',
      "TAG_CREDENTIALS_PAIRS: credentials.pairs[0]: needs access_key_id and secret_access_key",
    ],
    [
      "with an unknown key",
      "[{access_key_id: a, secret_access_key: hush, bucket: x}]",
      "TAG_CREDENTIALS_PAIRS: credentials.pairs[0].bucket: unknown key; did you mean buckets?",
    ],
  ])("in a variable that is %s are a problem that shows no secret", async (_what, text, line) => {
    const given = {
      yaml: `${signing}credentials: {pairs: [{access_key_id: c, secret_access_key: z}]}\n`,
    };
    expect(await complaints({ ...given, env: { TAG_CREDENTIALS_PAIRS: text } })).toEqual([line]);
  });

  test("in an empty variable leave the file's as they are", async () => {
    const { config } = await good({
      yaml: `${signing}credentials: {pairs: [{access_key_id: c, secret_access_key: z}]}\n`,
      env: { TAG_CREDENTIALS_PAIRS: " " },
    });
    expect(config.credentials.pairs.map(({ accessKeyId }) => accessKeyId)).toEqual(["c"]);
  });

  test("that are wrong are reported one by one, and no secret is shown", async () => {
    const lines = await complaints({
      yaml: `${signing}credentials:
  pairs:
    - {access_key_id: a, secret_access_key: hush1, bucket: x}
    - {access_key_id: a}
    - {access_key_id: b, secret_access_key: hush2, rights: admin}
    - {access_key_id: c, secret_access_key: hush3, upstream_access_key_id: u}
    - just-text
`,
    });
    expect(lines).toEqual([
      "./tag.yaml:4:52: credentials.pairs[0].bucket: unknown key; did you mean buckets?",
      "./tag.yaml:5:7: credentials.pairs[1]: needs access_key_id and secret_access_key",
      './tag.yaml:6:60: credentials.pairs[2].rights: "admin" must be read, write or own',
      "./tag.yaml:7:7: credentials.pairs[3]: upstream_access_key_id and upstream_secret_access_key need each other",
      "./tag.yaml:8:7: credentials.pairs[4]: must be a map with access_key_id and secret_access_key",
    ]);
  });

  test("of the dev origin may have the right to create buckets, those of the gateway not", async () => {
    const pair = "{access_key_id: a, secret_access_key: x, rights: [create]}";
    const { config } = await good({ yaml: `origin: {pairs: [${pair}]}\n` });
    expect(config.origin.pairs[0]?.rights).toEqual(["create"]);
    const lines = await complaints({ yaml: `${signing}credentials: {pairs: [${pair}]}\n` });
    expect(lines.join()).toContain('"create" must be read, write or own');
  });

  test("with the same access key id twice are refused", async () => {
    const pair = "{access_key_id: a, secret_access_key: x}";
    expect(
      await complaints({ yaml: `${signing}credentials: {pairs: [${pair}, ${pair}]}\n` }),
    ).toEqual(["./tag.yaml:2:22: credentials.pairs: access key id a is given twice"]);
  });
});

describe("the endpoint", () => {
  const transparent = (endpoint: string) =>
    complaints({ env: { TAG_UPSTREAM_ENDPOINT: endpoint } });
  const signing = (endpoint: string) =>
    complaints({ env: { TAG_UPSTREAM_ENDPOINT: endpoint, TAG_TRANSPARENT_PROXY: "false" } });

  test.each([
    "https://t3.storage.dev",
    "https://fly.storage.tigris.dev/",
    "http://localhost:9000",
    "http://127.0.0.1:9000",
    "http://[::1]:9000",
    "HTTPS://T3.STORAGE.DEV",
    "file:///srv/origin",
  ])("%s may be used in transparent mode", async (endpoint) => {
    expect(await transparent(endpoint)).toEqual([]);
  });

  test.each([
    ["https://s3.amazonaws.com", /not allowed in transparent proxy mode/],
    ["https://storage.dev", /not allowed in transparent proxy mode/],
    ["https://xstorage.dev", /not allowed in transparent proxy mode/],
    ["https://evil-storage.dev.example.com", /not allowed in transparent proxy mode/],
    ["https://localhost.example.com", /not allowed in transparent proxy mode/],
    ["https://127.0.0.1.example.com", /not allowed in transparent proxy mode/],
    ["http://10.0.0.1", /not allowed in transparent proxy mode/],
    ["https://t3.storage.dev/prefix", /must not have a path/],
  ])("%s may not", async (endpoint, message) => {
    expect((await transparent(endpoint)).join("\n")).toMatch(message);
  });

  test.each(["https://s3.amazonaws.com", "http://10.0.0.1:9000", "https://host/prefix"])(
    "%s may be used in signing mode",
    async (endpoint) => expect(await signing(endpoint)).toEqual([]),
  );

  test.each([
    ["t3.storage.dev", /must be an absolute http:\/\/ or https:\/\/ URL/],
    ["ftp://t3.storage.dev", /must be an absolute http:\/\/ or https:\/\/ URL/],
    ["http://", /invalid upstream endpoint/],
    ["https://host/?a=b", /must not have a query/],
    ["file://relative/path", /must name a folder/],
    ["file:///", /must name a folder/],
  ])("%s is refused in every mode", async (endpoint, message) => {
    expect((await signing(endpoint)).join("\n")).toMatch(message);
    expect((await transparent(endpoint)).join("\n")).toMatch(message);
  });

  test("with a password in it is refused without repeating it", async () => {
    const [line = ""] = await signing("https://user:hush@host");
    expect(line).toContain("must not contain credentials");
    expect(line).not.toContain("hush");
  });
});

describe("settings that contradict each other", () => {
  test.each([
    [{ TAG_TLS_CERT_FILE: "c.pem" }, "tls_cert_file is set but tls_key_file is missing"],
    [{ TAG_TLS_KEY_FILE: "k.pem" }, "tls_key_file is set but tls_cert_file is missing"],
    [{ TAG_HTTP_PORT: "8081" }, "port 8081 is also server.http_port"],
    [{ TAG_BIND_IP: "localhost" }, "is not an IP address"],
    [{ TAG_VIRTUAL_HOST_DOMAIN: "a b" }, "is not a host name"],
    [{ TAG_CACHE_SEED_NODES: "a:7000" }, "needs cache.node_id"],
    [{ TAG_CACHE_SEED_NODES: "a", TAG_CACHE_NODE_ID: "n" }, '"a" is not an address'],
    [{ TAG_CACHE_GRPC_ADDR: "9000" }, '"9000" is not an address'],
    [
      { TAG_CACHE_NODE_ID: "n", TAG_CACHE_GRPC_ADDR: ":8080" },
      "port 8080 is also server.http_port",
    ],
    [
      { TAG_CACHE_NODE_ID: "n", TAG_CACHE_GRPC_ADDR: ":7000" },
      "port 7000 is also cache.cluster_addr",
    ],
    [{ TAG_LOG_LEVEL: "loud" }, '"loud" is not a log level'],
  ])("%j is refused", async (env, message) => {
    const result = await load({ env });
    expect(result.kind).toBe("failed");
    expect((await complaints({ env })).join("\n")).toContain(message);
  });

  test("both ports at 0 and -1 do not clash", async () => {
    expect((await load({ env: { TAG_HTTP_PORT: "0", TAG_READ_PORT: "0" } })).kind).toBe("loaded");
  });

  test("are found although another section has mistakes, but not blamed on a value that was not read", async () => {
    const yaml =
      "cache: {ttll: 1h}\nserver: {http_port: abc, read_port: 8080}\nupstream: {endpoint: ftp://x}\n";
    const lines = await complaints({ yaml });
    expect(lines).toHaveLength(3);
    expect(lines.join("\n")).not.toContain("is also");
    expect(lines.at(-1)).toContain("upstream.endpoint");
  });
});

describe("advice", () => {
  test("is given for settings without effect and for doubtful ones, and starts nevertheless", async () => {
    const lines = await complaints({
      env: { TAG_PPROF_ENABLED: "1", TAG_CACHE_MAX_DISK_USAGE: "1MiB", TAG_CACHE_TTLL: "5m" },
    });
    expect(lines).toHaveLength(3);
    expect(lines.join("\n")).toMatch(
      /TAG_CACHE_TTLL: unknown variable; did you mean TAG_CACHE_TTL\?/,
    );
    expect(lines.join("\n")).toMatch(/larger than cache.max_disk_usage_bytes/);
    expect(lines.join("\n")).toMatch(/server.pprof_enabled: has no effect/);
  });

  test("leaves the variables alone that Kubernetes makes of a service named tag", async () => {
    const env = {
      TAG_PORT: "tcp://10.0.0.1:8080",
      TAG_SERVICE_HOST: "10.0.0.1",
      TAG_PORT_8080_TCP: "x",
    };
    expect(await complaints({ env })).toEqual([]);
  });
});

describe("credentials", () => {
  async function missing(env: Record<string, string>) {
    const { config, sources } = await good({ env });
    const problem = missingCredentials(config, sources);
    return problem === undefined ? undefined : formatProblem(problem);
  }
  const signing = { TAG_TRANSPARENT_PROXY: "false", TAG_UPSTREAM_ENDPOINT: "http://10.0.0.1" };
  const pair = { AWS_ACCESS_KEY_ID: "a", AWS_SECRET_ACCESS_KEY: "b" };

  test("are required in both modes, both halves of them", async () => {
    expect(await missing({})).toContain("set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY");
    expect(await missing({ AWS_ACCESS_KEY_ID: "a" })).toContain("the access key id alone is given");
    expect(await missing({ AWS_SECRET_ACCESS_KEY: "hush" })).toContain(
      "the secret key alone is given",
    );
    expect(await missing(signing)).toContain("would reject every request");
    expect(await missing(pair)).toBeUndefined();
    expect(await missing({ ...pair, ...signing })).toBeUndefined();
  });

  test("are not needed with the dev origin, which brings a pair of its own", async () => {
    expect(await missing({ TAG_UPSTREAM_ENDPOINT: "file:///srv/o" })).toBeUndefined();
  });
});

describe("the table", () => {
  test("names no variable and no flag twice", () => {
    const names = OPTION_ROWS.flatMap(([, { env, flag }]) =>
      [env, flag].filter((name) => name !== undefined),
    );
    expect(new Set(names).size).toBe(names.length);
  });

  test("holds every key and variable of the original", () => {
    const original = {
      "server.http_port": "TAG_HTTP_PORT",
      "server.bind_ip": "",
      "server.pprof_enabled": "TAG_PPROF_ENABLED",
      "server.tls_cert_file": "TAG_TLS_CERT_FILE",
      "server.tls_key_file": "TAG_TLS_KEY_FILE",
      "server.max_inflight_requests": "TAG_MAX_INFLIGHT_REQUESTS",
      "upstream.endpoint": "TAG_UPSTREAM_ENDPOINT",
      "upstream.region": "TAG_UPSTREAM_REGION",
      "upstream.max_idle_conns_per_host": "TAG_MAX_IDLE_CONNS_PER_HOST",
      "upstream.transparent_proxy": "TAG_TRANSPARENT_PROXY",
      "credentials.authz_cache_ttl": "TAG_AUTHZ_CACHE_TTL",
      "cache.enabled": "TAG_CACHE_DISABLED",
      "cache.ttl": "TAG_CACHE_TTL",
      "cache.size_threshold": "",
      "cache.disk_path": "TAG_CACHE_DISK_PATH",
      "cache.max_disk_usage_bytes": "TAG_CACHE_MAX_DISK_USAGE",
      "cache.node_id": "TAG_CACHE_NODE_ID",
      "cache.cluster_addr": "TAG_CACHE_CLUSTER_ADDR",
      "cache.grpc_addr": "TAG_CACHE_GRPC_ADDR",
      "cache.advertise_addr": "TAG_CACHE_ADVERTISE_ADDR",
      "cache.seed_nodes": "TAG_CACHE_SEED_NODES",
      "cache.grpc_auth": "TAG_CACHE_GRPC_AUTH",
      "cache.delete_batch_size": "TAG_CACHE_DELETE_BATCH_SIZE",
      "cache.recovery_workers": "TAG_CACHE_RECOVERY_WORKERS",
      "cache.eviction_policy": "TAG_CACHE_EVICTION_POLICY",
      "cache.max_concurrent_writes": "TAG_CACHE_MAX_CONCURRENT_WRITES",
      "cache.max_populate_memory_bytes": "TAG_CACHE_MAX_POPULATE_MEMORY",
      "cache.warm_on_write": "TAG_CACHE_WARM_ON_WRITE",
      "broadcast.chunk_size": "",
      "broadcast.channel_buffer": "",
      "log.level": "TAG_LOG_LEVEL",
      "log.format": "TAG_LOG_FORMAT",
    };
    const table = new Map<string, string | undefined>(
      OPTION_ROWS.map(([path, { env }]) => [path, env]),
    );
    for (const [path, env] of Object.entries(original)) {
      expect(table.has(path)).toBe(true);
      if (env !== "") expect(table.get(path)).toBe(env);
    }
  });

  test("is the only place in src that knows a TAG_ variable by name", async () => {
    const known = new Set(Object.values(OPTIONS).flatMap((row) => ("env" in row ? [row.env] : [])));
    const elsewhere: string[] = [];
    for await (const file of new Bun.Glob("src/**/*.ts").scan()) {
      const text = await Bun.file(file).text();
      for (const [, name = ""] of text.matchAll(/(?:process\.env|env)(?:\.|\[")(TAG_\w+)/g)) {
        if (name !== "TAG_CONFIG")
          elsewhere.push(`${file}: ${name}${known.has(name) ? "" : " (unknown)"}`);
      }
    }
    expect(elsewhere).toEqual([]);
  });
});
