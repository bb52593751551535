/**
 * What a configuration must satisfy as a whole, beyond each value on its own:
 * the endpoint rules, settings that need or exclude each other, and advice.
 *
 * Pure: it looks at no file, port or network, so that `tag config lint` in CI and
 * the start of the server judge alike.
 */

import { isIP } from "node:net";

import { parseLogFilter } from "../observability/log.ts";
import type { Option } from "./option.ts";
import type { Config, OptionPath } from "./options.ts";
import { OPTIONS } from "./options.ts";
import type { ConfigProblem, ProblemKind, Source } from "./problem.ts";

/** Where each option got its value; options at their default are absent. */
export type Sources = ReadonlyMap<OptionPath, Source>;

const DEFAULT: Source = { kind: "default" };

/** Every contradiction and every piece of advice, in the order of the option table. */
export function validate(config: Config, sources: Sources): readonly ConfigProblem[] {
  const problems: ConfigProblem[] = [];
  const report =
    (level: ConfigProblem["level"], kind: ProblemKind) =>
    (path: OptionPath, message: string, hint?: string): void => {
      problems.push({ level, kind, path, source: sources.get(path) ?? DEFAULT, message, hint });
    };
  const refuse = report("error", "refused");
  const advise = report("warning", "refused");

  checkServer(config, refuse);
  checkUpstream(config, refuse);
  checkCredentials(config, refuse, advise);
  checkCache(config, refuse, advise);
  const filter = parseLogFilter(config.log.level);
  if (filter.kind === "problem") refuse("log.level", filter.problem);
  for (const path of sources.keys()) {
    const option: Option = OPTIONS[path];
    if (option.inertBecause !== undefined) advise(path, `has no effect: ${option.inertBecause}`);
  }
  return problems;
}

/**
 * The credentials the gateway cannot do its work without, as one problem; undefined when
 * they are there. Apart from `validate`, because a file is linted where they are not.
 */
export function missingCredentials(config: Config, sources: Sources): ConfigProblem | undefined {
  const { accessKeyId, secretAccessKey, pairs } = config.credentials;
  const problem = (path: OptionPath, message: string, hint: string): ConfigProblem => ({
    level: "error",
    kind: "credentials",
    path,
    source: sources.get(path) ?? DEFAULT,
    message,
    hint,
  });
  const cure = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY";
  if (accessKeyId !== undefined && secretAccessKey === undefined) {
    return problem(
      "credentials.secret_access_key",
      "missing, the access key id alone is given",
      cure,
    );
  }
  if (accessKeyId === undefined && secretAccessKey !== undefined) {
    return problem("credentials.access_key_id", "missing, the secret key alone is given", cure);
  }
  if (accessKeyId !== undefined) return undefined;
  if (config.upstream.transparentProxy) {
    // The dev origin hands the gateway a pair of its own.
    if (isFileEndpoint(config.upstream.endpoint)) return undefined;
    return problem(
      "credentials.access_key_id",
      "missing: transparent mode requires the gateway's own access key and secret",
      `${cure}, or try "tag dev", which needs none`,
    );
  }
  if (pairs.length > 0) return undefined;
  return problem(
    "credentials.pairs",
    "missing: signing mode without any key pair would reject every request",
    `${cure}, or list pairs in the file or in ${OPTIONS["credentials.pairs"].env}`,
  );
}

/** True for an endpoint that names a folder, to be served by the dev origin. */
export function isFileEndpoint(endpoint: string): boolean {
  return endpoint.toLowerCase().startsWith("file:");
}

type Report = (path: OptionPath, message: string, hint?: string) => void;

function checkServer({ server, cache }: Config, refuse: Report): void {
  const { httpPort, readPort, bindIp, tlsCertFile, tlsKeyFile, virtualHostDomain } = server;
  if (httpPort > 0 && httpPort === readPort) {
    refuse("server.read_port", `port ${readPort} is also server.http_port`, "0 turns it off");
  }
  if (cache.nodeId !== undefined) {
    const used = new Map<number, OptionPath>();
    if (httpPort > 0) used.set(httpPort, "server.http_port");
    if (readPort > 0) used.set(readPort, "server.read_port");
    for (const [path, address] of [
      ["cache.cluster_addr", cache.clusterAddr],
      ["cache.grpc_addr", cache.grpcAddr],
    ] as const) {
      const port = portOf(address);
      if (port === undefined) continue;
      const other = used.get(port);
      if (other !== undefined) refuse(path, `port ${port} is also ${other}`);
      used.set(port, path);
    }
  }
  if (isIP(bindIp) === 0) {
    refuse("server.bind_ip", `"${bindIp}" is not an IP address`, "0.0.0.0 is every address");
  }
  if (virtualHostDomain !== undefined && !HOST_NAME.test(virtualHostDomain)) {
    refuse("server.virtual_host_domain", `"${virtualHostDomain}" is not a host name`);
  }
  if (tlsCertFile !== undefined && tlsKeyFile === undefined) {
    refuse("server.tls_key_file", "tls_cert_file is set but tls_key_file is missing");
  }
  if (tlsKeyFile !== undefined && tlsCertFile === undefined) {
    refuse("server.tls_cert_file", "tls_key_file is set but tls_cert_file is missing");
  }
}

const HOST_NAME =
  /^(?=.{1,253}$)[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)*$/i;

function checkUpstream({ upstream }: Config, refuse: Report): void {
  const trouble = endpointTrouble(upstream.endpoint, upstream.transparentProxy);
  if (trouble !== undefined) refuse("upstream.endpoint", ...trouble);
}

/** Message and hint; the messages are those of the original, which its users search for. */
function endpointTrouble(
  endpoint: string,
  isTransparent: boolean,
): readonly [message: string, hint?: string] | undefined {
  let url: URL;
  try {
    url = new URL(endpoint);
  } catch {
    return endpoint.includes("://")
      ? [`invalid upstream endpoint "${endpoint}"`]
      : [`upstream endpoint "${endpoint}" must be an absolute http:// or https:// URL`];
  }
  if (url.protocol === "file:") {
    return url.host === "" && url.pathname !== "/"
      ? undefined
      : [`upstream endpoint "${endpoint}" must name a folder`, "write file:///absolute/path"];
  }
  if (url.username !== "" || url.password !== "") {
    // Not quoted: it holds a password.
    return ["upstream endpoint must not contain credentials", "they go under credentials"];
  }
  if (url.protocol !== "http:" && url.protocol !== "https:") {
    return [`upstream endpoint "${endpoint}" must be an absolute http:// or https:// URL`];
  }
  if (url.hostname === "") return [`upstream endpoint "${endpoint}" must include a host`];
  if (url.search !== "" || url.hash !== "") {
    return [`upstream endpoint "${endpoint}" must not have a query or fragment`];
  }
  if (isTransparent && url.pathname !== "/") {
    return [
      `upstream endpoint "${endpoint}" must not have a path in transparent proxy mode`,
      "clients sign the path, nothing may be put before it",
    ];
  }
  if (isTransparent && !isTransparentHost(url.hostname)) {
    return [
      `upstream endpoint "${endpoint}" is not allowed in transparent proxy mode: host must be ` +
        "localhost, a loopback address, *.tigris.dev, or *.storage.dev",
      "use signing mode (upstream.transparent_proxy: false) for other S3-compatible services",
    ];
  }
  return undefined;
}

/**
 * Transparent mode tells upstream which host the client addressed and proves it with
 * the gateway's keys: only Tigris may hear that. Loopback is this machine; the
 * original admits it by the name localhost only.
 */
function isTransparentHost(hostname: string): boolean {
  const host = hostname.toLowerCase();
  return (
    host === "localhost" ||
    host === "[::1]" ||
    /^127(?:\.\d{1,3}){3}$/.test(host) ||
    host.endsWith(".tigris.dev") ||
    host.endsWith(".storage.dev")
  );
}

function checkCredentials(config: Config, refuse: Report, advise: Report): void {
  for (const [path, pairs] of [
    ["credentials.pairs", config.credentials.pairs],
    ["origin.pairs", config.origin.pairs],
  ] as const) {
    const seen = new Set<string>();
    for (const { accessKeyId } of pairs) {
      if (seen.has(accessKeyId)) refuse(path, `access key id ${accessKeyId} is given twice`);
      seen.add(accessKeyId);
    }
  }
  if (config.upstream.transparentProxy && config.credentials.pairs.length > 0) {
    advise("credentials.pairs", "has no effect in transparent mode");
  }
}

function checkCache({ cache }: Config, refuse: Report, advise: Report): void {
  for (const [path, address] of [
    ["cache.cluster_addr", cache.clusterAddr],
    ["cache.grpc_addr", cache.grpcAddr],
    ["cache.advertise_addr", cache.advertiseAddr],
  ] as const) {
    if (address !== undefined && portOf(address) === undefined) {
      refuse(path, `"${address}" is not an address`, "write host:port or :port");
    }
  }
  for (const seed of cache.seedNodes) {
    const isComplete = portOf(seed) !== undefined && !seed.startsWith(":");
    if (!isComplete) refuse("cache.seed_nodes", `"${seed}" is not an address`, "write host:port");
  }
  if (cache.seedNodes.length > 0 && cache.nodeId === undefined) {
    refuse("cache.seed_nodes", "needs cache.node_id, which makes this node a member of a cluster");
  }
  if (cache.maxDiskUsageBytes > 0 && cache.sizeThresholdBytes > cache.maxDiskUsageBytes) {
    advise(
      "cache.size_threshold",
      "is larger than cache.max_disk_usage_bytes: one such object would push out all others",
    );
  }
  for (const { bucket, quotaBytes = 0 } of cache.rules) {
    if (cache.maxDiskUsageBytes > 0 && quotaBytes > cache.maxDiskUsageBytes) {
      advise(
        "cache.rules",
        `the quota of ${bucket} is larger than cache.max_disk_usage_bytes and bounds nothing`,
      );
    }
  }
  if (cache.pinnedMaxPercent === 0 && cache.rules.some(({ isPinned }) => isPinned)) {
    advise("cache.rules", "pins nothing, because cache.pinned_max_percent is 0");
  }
}

/** The port of `host:port`, `:port` or `[v6]:port`; undefined when it is none of these. */
function portOf(address: string): number | undefined {
  const match = /^(?:\[[0-9a-f:.]+\]|[^:\s/]*):(\d{1,5})$/i.exec(address);
  const port = Number(match?.[1]);
  return match !== null && port >= 1 && port <= 65_535 ? port : undefined;
}
