/**
 * Before anything is measured: everybody serves the same bytes, cold and from the cache.
 */

import { EMPTY_SHA256, signerFor, signRequest } from "../../src/s3/sigv4.ts";
import type { Endpoint, Server } from "./contender.ts";
import { CLIENT } from "./credentials.ts";
import type { DataSet } from "./data-set.ts";
import { MIB, rawTargetOf } from "./data-set.ts";

/** Larger objects take the same way as those of 8 MiB, and longer. */
const SIZE_MAX = 8 * MIB;

/** Throws when an endpoint serves other bytes than the first one, on the first or on a later read. */
export async function sameBytes(servers: readonly Server[], dataSet: DataSet): Promise<void> {
  const endpoints = servers.flatMap((server) => server.endpoints);
  for (const objects of Object.values(dataSet)) {
    if (objects.sizeBytes > SIZE_MAX) continue;
    const rawTarget = rawTargetOf(objects, 0);
    let expected: string | undefined;
    for (const endpoint of endpoints) {
      for (const attempt of ["first", "second"]) {
        const found = await digestOf(endpoint, rawTarget);
        expected ??= found;
        if (found !== expected) {
          throw new Error(
            `${endpoint.contender}: other bytes for ${rawTarget} on the ${attempt} read`,
          );
        }
      }
    }
  }
}

async function digestOf(endpoint: Endpoint, rawTarget: string): Promise<string> {
  const host = `${endpoint.host}:${endpoint.port}`;
  const headers = new Headers();
  if (endpoint.isSigned) {
    const nowMs = Date.now();
    const raw = signRequest(
      { method: "GET", rawTarget, headers: ["Host", host], payloadHash: EMPTY_SHA256 },
      signerFor(CLIENT, CLIENT.region, nowMs),
      nowMs,
    );
    for (let at = 0; at + 1 < raw.length; at += 2) headers.set(raw[at] ?? "", raw[at + 1] ?? "");
  }
  const answer = await fetch(`http://${host}${rawTarget}`, { headers });
  if (!answer.ok) throw new Error(`${endpoint.contender}: ${answer.status} for ${rawTarget}`);
  return Bun.SHA256.hash(await answer.arrayBuffer(), "hex");
}
