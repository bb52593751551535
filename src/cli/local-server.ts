/**
 * Talking to the server of this machine that runs with the same configuration: its
 * address, and one short request. The certificate is not checked: it is made out for
 * a name, and we ask a loopback address for things that are no secret.
 */

import type { Config } from "../config/options.ts";

/** `http://127.0.0.1:8080`, or undefined when the port is chosen by the system. */
export function localServerUrl({ server }: Config): string | undefined {
  if (server.httpPort === 0) return undefined;
  const scheme = server.tlsCertFile === undefined ? "http" : "https";
  const isIPv6 = server.bindIp.includes(":");
  const everyAddress = { "0.0.0.0": "127.0.0.1", "::": "::1" } as Record<string, string>;
  const host = everyAddress[server.bindIp] ?? server.bindIp;
  return `${scheme}://${isIPv6 ? `[${host}]` : host}:${server.httpPort}`;
}

export type Answer =
  | { readonly kind: "answered"; readonly status: number; readonly text: string }
  /** Nobody listens, or no answer came in time. */
  | { readonly kind: "unreachable"; readonly because: string };

/** GET `url`, redirects not followed. Never throws. */
export async function ask(url: string, timeoutMs: number): Promise<Answer> {
  try {
    const response = await fetch(url, {
      redirect: "manual",
      signal: AbortSignal.timeout(timeoutMs),
      tls: { rejectUnauthorized: false },
    });
    return { kind: "answered", status: response.status, text: await response.text() };
  } catch (error) {
    const { name, code } = error as { readonly name?: string; readonly code?: string };
    if (name === "TimeoutError") {
      return { kind: "unreachable", because: `no answer within ${timeoutMs} ms` };
    }
    const isRefused = code === "ConnectionRefused" || code === "ECONNREFUSED";
    const reason = error instanceof Error ? error.message : String(error);
    return { kind: "unreachable", because: isRefused ? "connection refused" : reason };
  }
}
