/**
 * Talking to the server of this machine that runs with the same configuration: its
 * address, and one short request. The certificate is not checked: it is made out for
 * a name, and we ask a loopback address for things that are no secret.
 */

import { request as requestHttp } from "node:http";
import { request as requestHttps } from "node:https";

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
  return send(url, { method: "GET", headers: {}, timeoutMs });
}

export interface Call {
  readonly method: "GET" | "POST";
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: string;
  /** For the whole answer; undefined: as long as it takes. */
  readonly timeoutMs?: number;
}

/**
 * One request of our own server. Not by `fetch`, which obeys HTTP_PROXY for loopback addresses
 * too and would hand the proxy what is between us and the server. Never throws.
 */
export async function send(url: string, call: Call): Promise<Answer> {
  const { method, headers, body, timeoutMs } = call;
  const signal = timeoutMs === undefined ? undefined : AbortSignal.timeout(timeoutMs);
  const request = url.startsWith("https:") ? requestHttps : requestHttp;
  try {
    return await new Promise<Answer>((resolve, reject) => {
      const outgoing = request(url, { method, headers, agent: false, rejectUnauthorized: false });
      signal?.addEventListener("abort", () => outgoing.destroy(signal.reason as Error));
      outgoing.on("error", reject);
      outgoing.on("response", (incoming) => {
        incoming.on("error", reject);
        // After its end this rejects what is settled, which does nothing.
        incoming.on("close", () => reject(new Error("the answer was cut off")));
        const chunks: Uint8Array[] = [];
        incoming.on("data", (chunk: Uint8Array) => chunks.push(chunk));
        incoming.on("end", () => {
          const text = Buffer.concat(chunks).toString();
          resolve({ kind: "answered", status: incoming.statusCode ?? 0, text });
        });
      });
      outgoing.end(body);
    });
  } catch (error) {
    if (signal?.aborted === true) {
      return { kind: "unreachable", because: `no answer within ${timeoutMs} ms` };
    }
    const { code } = error as { readonly code?: string };
    const isRefused = code === "ConnectionRefused" || code === "ECONNREFUSED";
    const reason = error instanceof Error ? error.message : String(error);
    return { kind: "unreachable", because: isRefused ? "connection refused" : reason };
  }
}
