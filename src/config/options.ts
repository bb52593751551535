/**
 * THE option table: every setting of the gateway, once.
 *
 * A row gives the YAML path, the environment variable, the flag, the type with its
 * unit, the default, the bounds and the help text. From it come the `Config` type,
 * the parsing of all sources, `--help`, `tag config init | show | lint | schema` and
 * docs/configuration.md. A new option is a new row here and nothing else.
 *
 * Keys, variables and defaults are those of the original where it has them, so that
 * its files and deployments load; the one different default is `cache.ttl`
 * (docs/decisions, A11). Inside the program a name is the key in camel case with its
 * unit: `cache.ttl` is `config.cache.ttlMs`, `cache.size_threshold` is
 * `config.cache.sizeThresholdBytes`, `cache.memory_bytes` is `config.cache.memoryBytes`.
 */

import type { Option } from "./option.ts";
import {
  boolean,
  choice,
  duration,
  integer,
  list,
  optionalText,
  pairs,
  rules,
  secret,
  size,
  text,
} from "./option.ts";

const SECOND = 1_000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const KIB = 1_024;
const MIB = 1_024 * KIB;
const GIB = 1_024 * MIB;

const CLUSTERS_TO_COME = "clusters are not built yet; this node works alone";

export const OPTIONS = {
  // ------------------------------------------------------------------ server
  "server.http_port": integer({
    default: 8080,
    min: 0,
    max: 65_535,
    env: "TAG_HTTP_PORT",
    flag: "http-port",
    help: "Port of the S3 endpoint, with /health and /metrics. 0 takes any free port.",
  }),
  "server.read_port": integer({
    default: 8081,
    min: -1,
    max: 65_535,
    env: "TAG_READ_PORT",
    flag: "read-port",
    help:
      "Port of the zero-copy endpoint: the same S3 interface, cheapest for reads of large objects; " +
      "docs/architecture.md A2 names its two limits. 0 turns it off, -1 takes any free port.",
  }),
  "server.bind_ip": text({
    default: "0.0.0.0",
    env: "TAG_BIND_IP",
    help: "Address to listen on, IPv4 or IPv6. 127.0.0.1 admits this machine only.",
  }),
  "server.engine": choice({
    choices: ["node", "own"],
    default: "own",
    env: "TAG_SERVER_ENGINE",
    help: "HTTP engine of the S3 port: the gateway's own, or node:http of the Bun runtime as the second opinion.",
  }),
  "server.virtual_host_domain": optionalText({
    env: "TAG_VIRTUAL_HOST_DOMAIN",
    help:
      "Domain under which buckets are host names (bucket.DOMAIN/key), next to path style " +
      "(DOMAIN/bucket/key). Unset: path style only.",
  }),
  "server.tls_cert_file": optionalText({
    env: "TAG_TLS_CERT_FILE",
    isHot: true,
    help: "Certificate chain, PEM. Set it together with the key to serve HTTPS.",
  }),
  "server.tls_key_file": optionalText({
    env: "TAG_TLS_KEY_FILE",
    isHot: true,
    help: "Private key of the certificate, PEM. Both files are read again on SIGHUP.",
  }),
  "server.max_inflight_requests": integer({
    default: 1024,
    isZeroDefault: true,
    isNegativeUnlimited: true,
    env: "TAG_MAX_INFLIGHT_REQUESTS",
    help: "S3 requests in progress at once; more are answered 503 SlowDown.",
  }),
  "server.max_connections": integer({
    default: 16_384,
    min: 1,
    env: "TAG_MAX_CONNECTIONS",
    help: "Client connections open at once on one port; more are closed as they arrive.",
  }),
  "server.header_timeout": duration({
    default: 20 * SECOND,
    min: 1,
    env: "TAG_HEADER_TIMEOUT",
    help: "Time a client may take to send the header of a request.",
  }),
  "server.idle_timeout": duration({
    default: 75 * SECOND,
    min: 1,
    env: "TAG_IDLE_TIMEOUT",
    help:
      "How long a connection may be idle between requests. Keep it above the idle timeout of a " +
      "load balancer in front (usually 60s), else that one meets connections just closed.",
  }),
  "server.send_stall_timeout": duration({
    default: MINUTE,
    min: 1,
    env: "TAG_SEND_STALL_TIMEOUT",
    help: "A client that takes no bytes of its reply for this long is cut off.",
  }),
  "server.drain_timeout": duration({
    default: 30 * SECOND,
    min: 0,
    env: "TAG_DRAIN_TIMEOUT",
    help: "On SIGTERM, time for running requests to finish before they are cut.",
  }),
  "server.buffered_reply_bytes": size({
    default: 16 * MIB,
    min: 0,
    env: "TAG_BUFFERED_REPLY_BYTES",
    help:
      "Read port only: a reply that streams from upstream is held back up to this size to be sent " +
      "with Content-Length, from its file once it is stored or from memory; larger ones go out " +
      "chunked.",
  }),
  "server.buffered_replies_bytes": size({
    default: 64 * MIB,
    min: 0,
    env: "TAG_BUFFERED_REPLIES_BYTES",
    help:
      "Read port only: what such replies may take in memory together; those beyond go out chunked. " +
      "One of server.buffered_reply_bytes always fits.",
  }),
  "server.pprof_enabled": boolean({
    default: false,
    env: "TAG_PPROF_ENABLED",
    inertBecause: "there are no /debug/pprof endpoints (they belong to the Go runtime)",
    help: "Profiling endpoints of the original.",
  }),

  // ---------------------------------------------------------------- upstream
  "upstream.endpoint": text({
    default: "https://t3.storage.dev",
    env: "TAG_UPSTREAM_ENDPOINT",
    help:
      "The object store: an http:// or https:// URL. In transparent mode its host must be localhost, " +
      "a loopback address, *.tigris.dev or *.storage.dev. file:///DIR serves a folder through the " +
      "built-in dev origin, for development only.",
  }),
  "upstream.region": text({
    default: "auto",
    env: "TAG_UPSTREAM_REGION",
    help: "Region in the signatures of the gateway's own requests.",
  }),
  "upstream.transparent_proxy": boolean({
    default: true,
    env: "TAG_TRANSPARENT_PROXY",
    help:
      "True: clients use their own Tigris keys, their requests are forwarded as signed. False " +
      "(signing mode): clients use the pairs configured here and the gateway signs for any S3 store.",
  }),
  "upstream.force_path_style": boolean({
    default: true,
    env: "TAG_UPSTREAM_FORCE_PATH_STYLE",
    help: "Signing mode: send /bucket/key. False sends bucket.HOST/key, as AWS prefers.",
  }),
  "upstream.forward_anonymous": boolean({
    default: false,
    env: "TAG_FORWARD_ANONYMOUS",
    help: "Signing mode: forward requests without credentials unsigned and let upstream judge them. False refuses them.",
  }),
  "upstream.connect_timeout": duration({
    default: 10 * SECOND,
    min: 1,
    env: "TAG_UPSTREAM_CONNECT_TIMEOUT",
    help: "Time to establish a connection to the object store, TLS included.",
  }),
  "upstream.header_timeout": duration({
    default: MINUTE,
    min: 1,
    env: "TAG_UPSTREAM_HEADER_TIMEOUT",
    help: "Time from the end of a request to the header of its answer.",
  }),
  "upstream.stall_timeout": duration({
    default: MINUTE,
    min: 1,
    env: "TAG_UPSTREAM_STALL_TIMEOUT",
    help: "Longest pause between two pieces of a body. There is no limit on the whole.",
  }),
  "upstream.max_connections": integer({
    default: 512,
    min: 1,
    env: "TAG_UPSTREAM_MAX_CONNECTIONS",
    help: "Connections to the object store at once; further requests wait for one.",
  }),
  "upstream.max_idle_conns_per_host": integer({
    default: 100,
    min: 1,
    isZeroDefault: true,
    env: "TAG_MAX_IDLE_CONNS_PER_HOST",
    help: "Idle connections to the object store that are kept for reuse.",
  }),

  // ------------------------------------------------------------- credentials
  "credentials.access_key_id": optionalText({
    env: "AWS_ACCESS_KEY_ID",
    help:
      "The gateway's own access key id. Required in transparent mode; in signing mode one of the " +
      "pairs clients may use.",
  }),
  "credentials.secret_access_key": secret({
    env: "AWS_SECRET_ACCESS_KEY",
    help: "The secret key that belongs to it.",
  }),
  "credentials.session_token": secret({
    env: "AWS_SESSION_TOKEN",
    help: "Session token of temporary credentials, sent along in signing mode.",
  }),
  "credentials.pairs": pairs({
    choices: ["read", "write", "own"],
    env: "TAG_CREDENTIALS_PAIRS",
    help:
      "Signing mode: further pairs clients may use. Each has access_key_id and secret_access_key, and " +
      'optionally buckets (default ["*"]), rights (a list of read, write, own; default [own], which ' +
      "is everything), session_token, and upstream_access_key_id with upstream_secret_access_key when another pair " +
      "signs upstream. The variable holds the same list as YAML or JSON.",
  }),
  "credentials.authz_cache_ttl": duration({
    default: 10 * MINUTE,
    min: 1,
    isZeroDefault: true,
    env: "TAG_AUTHZ_CACHE_TTL",
    help:
      "How long a learned permission of an access key on a bucket holds before upstream must confirm " +
      "it again: the longest time a revoked key can still read cached objects.",
  }),
  "credentials.persist_learned": boolean({
    default: true,
    env: "TAG_PERSIST_LEARNED",
    help:
      "Keep learned signing keys and permissions over a restart, encrypted under the gateway's own " +
      "secret, so that a restart does not send every client upstream.",
  }),

  // ------------------------------------------------------------------- cache
  "cache.enabled": boolean({
    default: true,
    env: "TAG_CACHE_DISABLED",
    flag: "disable-cache",
    isNegated: true,
    help: "False makes the gateway a plain proxy. The flag is --disable-cache.",
  }),
  "cache.ttl": duration({
    default: HOUR,
    min: 1,
    isZeroDefault: true,
    env: "TAG_CACHE_TTL",
    help: "How long an object is served without asking upstream whether it changed.",
  }),
  "cache.stale_if_error": duration({
    default: HOUR,
    min: 0,
    env: "TAG_CACHE_STALE_IF_ERROR",
    help:
      "How long after its TTL an object is still served while upstream is unreachable or fails " +
      "(RFC 5861). 0 turns that off.",
  }),
  "cache.size_threshold": size({
    default: GIB,
    min: 0,
    isZeroDefault: true,
    env: "TAG_CACHE_SIZE_THRESHOLD",
    help: "Largest object that is cached. Larger ones pass through, and so do ranges of them.",
  }),
  "cache.block_threshold": size({
    default: 64 * MIB,
    min: 1,
    env: "TAG_CACHE_BLOCK_THRESHOLD",
    help:
      "A range read of an object larger than this fetches only the blocks it needs; smaller objects " +
      "are fetched whole.",
  }),
  "cache.disk_path": text({
    default: "/var/cache/tag",
    env: "TAG_CACHE_DISK_PATH",
    help: "Folder of the cache. Created when missing; only one process may use it.",
  }),
  "cache.max_disk_usage_bytes": size({
    default: 0,
    min: 0,
    env: "TAG_CACHE_MAX_DISK_USAGE",
    help: "Cap on everything under disk_path. 0 takes 80 % of the free space at the first start.",
  }),
  "cache.memory_bytes": size({
    default: 128 * MIB,
    min: 0,
    env: "TAG_CACHE_MEMORY_BYTES",
    help: "Memory for the hottest small objects. 0 turns that tier off.",
  }),
  "cache.eviction_policy": choice({
    choices: ["lru", "fifo", "auto"],
    default: "auto",
    env: "TAG_CACHE_EVICTION_POLICY",
    help:
      "What leaves when space is needed: the least recently used, the oldest, or auto, which also " +
      "does well when a training job reads a data set larger than the cache over and over.",
  }),
  "cache.rules": rules({
    help:
      "What holds for some buckets or prefixes, see Rules below. Each has a bucket (a name, or a pattern " +
      "with *), and optionally prefix, include and exclude (lists of key patterns), ttl, quota and pin.",
  }),
  "cache.pinned_max_percent": integer({
    default: 80,
    min: 0,
    max: 100,
    env: "TAG_CACHE_PINNED_MAX_PERCENT",
    help:
      "Share of the cap that pinned objects may take, those of rules and those of tag cache pin " +
      "together. What would go beyond it is cached without protection.",
  }),
  "cache.warm_on_write": boolean({
    default: false,
    env: "TAG_CACHE_WARM_ON_WRITE",
    help: "Keep uploaded objects in the cache once upstream confirmed them.",
  }),
  "cache.max_concurrent_writes": integer({
    default: 256,
    isZeroDefault: true,
    isNegativeUnlimited: true,
    env: "TAG_CACHE_MAX_CONCURRENT_WRITES",
    help: "Objects being written into the cache at once; beyond, reads are served without caching.",
  }),
  "cache.max_populate_memory_bytes": size({
    default: GIB,
    isZeroDefault: true,
    isNegativeUnlimited: true,
    env: "TAG_CACHE_MAX_POPULATE_MEMORY",
    help: "Memory for bytes on their way into the cache; beyond, reads are served without caching.",
  }),
  "cache.flight_window_bytes": size({
    default: 16 * MIB,
    min: 64 * KIB,
    env: "TAG_CACHE_FLIGHT_WINDOW_BYTES",
    help:
      "Bytes of one shared upstream fetch kept in memory for all its readers; a slower reader goes " +
      "on from disk.",
  }),
  "cache.lesson_timeout": duration({
    default: 5 * SECOND,
    min: 0,
    env: "TAG_CACHE_LESSON_TIMEOUT",
    help:
      "When many clients with a key not known yet start at once, how long they wait for the one " +
      "request that learns it, before going upstream themselves.",
  }),
  "cache.node_id": optionalText({
    env: "TAG_CACHE_NODE_ID",
    inertBecause: CLUSTERS_TO_COME,
    help: "Name of this node; setting it makes the node a member of a cluster.",
  }),
  "cache.cluster_addr": text({
    default: ":7000",
    env: "TAG_CACHE_CLUSTER_ADDR",
    inertBecause: CLUSTERS_TO_COME,
    help: "Address of the membership protocol, UDP and TCP.",
  }),
  "cache.grpc_addr": text({
    default: ":9000",
    env: "TAG_CACHE_GRPC_ADDR",
    inertBecause: CLUSTERS_TO_COME,
    help: "Address of the peer service.",
  }),
  "cache.advertise_addr": optionalText({
    env: "TAG_CACHE_ADVERTISE_ADDR",
    inertBecause: CLUSTERS_TO_COME,
    help: "host:port of the peer service as other nodes reach it. Unset: grpc_addr.",
  }),
  "cache.seed_nodes": list({
    env: "TAG_CACHE_SEED_NODES",
    inertBecause: CLUSTERS_TO_COME,
    help: "Members to join, as host:port of their cluster_addr; in the variable separated by commas.",
  }),
  "cache.grpc_auth": boolean({
    default: true,
    env: "TAG_CACHE_GRPC_AUTH",
    isClusterWide: true,
    inertBecause: CLUSTERS_TO_COME,
    help: "Peers prove that they hold the gateway's credentials.",
  }),
  "cache.delete_batch_size": integer({
    default: 1000,
    min: 1,
    isZeroDefault: true,
    env: "TAG_CACHE_DELETE_BATCH_SIZE",
    inertBecause: "this store removes a batch of any size in one step",
    help: "Store tuning of the original.",
  }),
  "cache.recovery_workers": integer({
    default: 16,
    min: 1,
    isZeroDefault: true,
    env: "TAG_CACHE_RECOVERY_WORKERS",
    inertBecause: "this store needs no recovery workers",
    help: "Store tuning of the original.",
  }),

  // --------------------------------------------------------------- broadcast
  "broadcast.chunk_size": size({
    default: 64 * KIB,
    min: 1,
    isZeroDefault: true,
    env: "TAG_BROADCAST_CHUNK_SIZE",
    inertBecause: "chunks pass on as they arrive; see cache.flight_window_bytes",
    help: "Request sharing of the original: bytes per read.",
  }),
  "broadcast.channel_buffer": integer({
    default: 1024,
    min: 1,
    isZeroDefault: true,
    env: "TAG_BROADCAST_CHANNEL_BUFFER",
    inertBecause: "readers share one window; see cache.flight_window_bytes",
    help: "Request sharing of the original: chunks buffered per reader.",
  }),

  // --------------------------------------------------------------------- log
  "log.level": text({
    default: "info",
    env: "TAG_LOG_LEVEL",
    flag: "log-level",
    isHot: true,
    help:
      "error: a person should act; warn: degraded; info: life cycle and access; debug: per request. " +
      "A module can have its own: info,upstream=debug.",
  }),
  "log.format": choice({
    choices: ["json", "console"],
    default: "json",
    env: "TAG_LOG_FORMAT",
    flag: "log-format",
    help: "JSON lines for machines, or text for people.",
  }),
  "log.access": boolean({
    default: true,
    env: "TAG_LOG_ACCESS",
    help: "One line per request.",
  }),

  // ------------------------------------------------------------------ origin
  "origin.latency": duration({
    default: 0,
    min: 0,
    env: "TAG_ORIGIN_LATENCY",
    help: "Dev origin: time added before every answer, to simulate distance.",
  }),
  "origin.bandwidth_bytes": size({
    default: 0,
    min: 0,
    env: "TAG_ORIGIN_BANDWIDTH_BYTES",
    help: "Dev origin: bytes per second of one connection. 0 does not limit it.",
  }),
  "origin.faults": list({
    env: "TAG_ORIGIN_FAULTS",
    separator: ";",
    help: "Dev origin: fault rules as tag dev --fault takes them; in the variable separated by semicolons.",
  }),
  "origin.pairs": pairs({
    choices: ["read", "write", "create", "own"],
    help:
      "Dev origin: key pairs of its users with their rights, in the form of credentials.pairs; the right " +
      "create is to create buckets, and who creates one owns it. " +
      "Unset: tagdev/tagdevsecret with all rights and tagother/tagothersecret with none.",
  }),
} as const satisfies Record<string, Option>;

type Table = typeof OPTIONS;

/** The YAML path of an option: `cache.ttl`. */
export type OptionPath = keyof Table;

type SectionOf<P extends string> = P extends `${infer Section}.${string}` ? Section : never;

type Camel<S extends string> = S extends `${infer Head}_${infer Tail}`
  ? `${Head}${Capitalize<Camel<Tail>>}`
  : S extends `${infer Head}.${infer Tail}`
    ? `${Camel<Head>}${Capitalize<Camel<Tail>>}`
    : S;

type PropertyOf<Key extends string, Kind> = Kind extends "duration"
  ? `${Camel<Key>}Ms`
  : Kind extends "size"
    ? Key extends `${string}bytes`
      ? Camel<Key>
      : `${Camel<Key>}Bytes`
    : Camel<Key>;

/**
 * The configuration of one process, complete and valid. Only app.ts and the commands
 * see it; modules below are handed the few values they need.
 */
export type Config = {
  readonly [Section in SectionOf<OptionPath>]: {
    readonly [
      Path in OptionPath as Path extends `${Section}.${infer Key}`
        ? PropertyOf<Key, Table[Path]["kind"]>
        : never
    ]: Table[Path]["default"];
  };
};

/** Every option in the order of the table. */
export const OPTION_ROWS: readonly (readonly [OptionPath, Option])[] = Object.entries(
  OPTIONS,
) as unknown as readonly (readonly [OptionPath, Option])[];

export function isOptionPath(path: string): path is OptionPath {
  return Object.hasOwn(OPTIONS, path);
}

export function sectionOf(path: OptionPath): string {
  return path.slice(0, path.indexOf("."));
}

/** Where `Config` holds the option: `["cache", "ttlMs"]` for `cache.ttl`. */
export function configPropertyOf(path: OptionPath): readonly [section: string, property: string] {
  const { kind } = OPTIONS[path];
  const section = sectionOf(path);
  const key = path.slice(section.length + 1);
  const camel = key.replace(/[._]([a-z0-9])/g, (_, letter: string) => letter.toUpperCase());
  if (kind === "duration") return [section, `${camel}Ms`];
  if (kind === "size" && !key.endsWith("bytes")) return [section, `${camel}Bytes`];
  return [section, camel];
}

/** The value `config` holds for an option. */
export function optionValue(config: Config, path: OptionPath): unknown {
  const [section, property] = configPropertyOf(path);
  return (config as unknown as Record<string, Record<string, unknown>>)[section]?.[property];
}
