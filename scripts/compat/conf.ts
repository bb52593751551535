/**
 * The suite's configuration file (`S3TEST_CONF`): where the server is and who its users are.
 *
 * The suite takes nothing else, and neither do we: the file that runs it against a server is also
 * what the gateway in front of that server is configured from.
 */

import type { KeyPair } from "../../src/s3/sigv4.ts";

/** One user of the server, in the section's own words. */
export interface SuiteUser extends KeyPair {
  readonly section: string;
}

export interface SuiteConf {
  /** `http://host:port`. */
  readonly endpoint: string;
  /** In the order of the file; several sections may name the same pair. */
  readonly users: readonly SuiteUser[];
}

/** The sections with users; the suite reads all of them, whichever tests are run. */
const SECTIONS = ["s3 main", "s3 alt", "s3 tenant", "iam", "iam root", "iam alt root"] as const;

/** Users made up for a server that is started for the occasion. */
export const OWN_USERS: readonly SuiteUser[] = SECTIONS.map((section) => {
  const accessKeyId = `tag-${section.replace(/^s3 /, "").replaceAll(" ", "-")}`;
  return { section, accessKeyId, secretAccessKey: `${accessKeyId}-secret` };
});

/** Reads an existing file. Throws when it has no endpoint or no main user. */
export function parseConf(text: string): SuiteConf {
  const sections = parseIni(text);
  const defaults = sections.get("DEFAULT");
  const host = defaults?.get("host");
  const port = defaults?.get("port");
  if (host === undefined || port === undefined)
    throw new Error("the [DEFAULT] section needs host and port");
  const users: SuiteUser[] = [];
  for (const [section, values] of sections) {
    const accessKeyId = values.get("access_key");
    const secretAccessKey = values.get("secret_key");
    if (accessKeyId !== undefined && secretAccessKey !== undefined) {
      users.push({ section, accessKeyId, secretAccessKey });
    }
  }
  if (!users.some(({ section }) => section === "s3 main"))
    throw new Error('there is no "s3 main" user');
  const scheme = defaults?.get("is_secure")?.toLowerCase() === "true" ? "https" : "http";
  return { endpoint: `${scheme}://${host}:${port}`, users };
}

/** The same file with another server in it; everything else stays. */
export function redirectConf(text: string, endpoint: string): string {
  const { hostname, port, protocol } = new URL(endpoint);
  const values: Readonly<Record<string, string>> = {
    host: hostname,
    port,
    is_secure: protocol === "https:" ? "True" : "False",
  };
  let section = "";
  return text
    .split("\n")
    .map((line) => {
      section = SECTION.exec(line)?.[1] ?? section;
      const name = SETTING.exec(line)?.[1]?.toLowerCase() ?? "";
      const value = values[name];
      return section === "DEFAULT" && value !== undefined ? `${name} = ${value}` : line;
    })
    .join("\n");
}

export interface ConfDetails {
  /** The tenant the user of section "s3 tenant" is in; none when undefined. */
  readonly tenant?: string;
  /** What the server calls its region in GetBucketLocation. */
  readonly locationConstraint?: string;
}

/** A file for `users` on a server of ours, where an access key id is also the id of its owner. */
export function renderConf(
  endpoint: string,
  users: readonly SuiteUser[],
  { tenant, locationConstraint = "" }: ConfDetails = {},
): string {
  const { hostname, port } = new URL(endpoint);
  const lines = [
    "[DEFAULT]",
    `host = ${hostname}`,
    `port = ${port}`,
    "is_secure = False",
    "ssl_verify = False",
    "[fixtures]",
    "bucket prefix = tag-{random}-",
  ];
  for (const { section, accessKeyId, secretAccessKey } of users) {
    const isTenant = section === "s3 tenant";
    const userId = isTenant && tenant !== undefined ? `${tenant}$${accessKeyId}` : accessKeyId;
    lines.push(
      `[${section}]`,
      `user_id = ${userId}`,
      `display_name = ${accessKeyId}`,
      `email = ${accessKeyId}@example.com`,
      `api_name = ${locationConstraint}`,
      `access_key = ${accessKeyId}`,
      `secret_key = ${secretAccessKey}`,
      ...(isTenant ? [`tenant = ${tenant ?? "none"}`] : []),
    );
  }
  return `${lines.join("\n")}\n`;
}

const SECTION = /^\[([^\]]+)\]/;
const SETTING = /^\s*([A-Za-z_ ]+?)\s*[=:]\s*(.*?)\s*$/;

/** Sections by name; comments are whole lines. */
function parseIni(text: string): ReadonlyMap<string, ReadonlyMap<string, string>> {
  const sections = new Map<string, Map<string, string>>();
  let current = new Map<string, string>();
  for (const line of text.split("\n")) {
    if (/^\s*[#;]/.test(line)) continue;
    const section = SECTION.exec(line)?.[1];
    if (section !== undefined) {
      current = new Map();
      sections.set(section, current);
      continue;
    }
    const [, name, value] = SETTING.exec(line) ?? [];
    if (name !== undefined && value !== undefined) current.set(name.toLowerCase(), value);
  }
  return sections;
}
