// Reads by pages of another origin: a browser shows a page the answer only when CORS fields admit
// its origin, and S3 sends those only to requests that name one. What was cached for an SDK must
// not be what a page gets, with or without `Vary` in the answer.

import { describe, expect, test } from "bun:test";
import { answer, type Call, sendAnswer } from "../../support/scripted-upstream.ts";
import { targetOf, World } from "./world.ts";

const BODY = ["ETag", '"v"', "Content-Type", "text/plain"];

/** Upstream as S3 is: CORS fields for `https://a` when it asks, and `Vary` as told. */
function corsAnswer(vary: "always" | "with the fields" | "never") {
  return async (call: Call): Promise<void> => {
    const origin = call.request.field("origin");
    const headers = [...BODY];
    if (origin === "https://a") headers.push("Access-Control-Allow-Origin", origin);
    if (vary === "always" || (vary === "with the fields" && origin === "https://a")) {
      headers.push("Vary", "Origin");
    }
    await sendAnswer(call, { headers, body: "hello" });
  };
}

describe.each(["always", "with the fields", "never"] as const)("with Vary sent %s", (vary) => {
  test("each page gets the fields meant for it, and SDKs keep their hits", async () => {
    await using w = await World.open();
    await w.teach(w.alice);
    w.upstream.on("GET", targetOf("k"), corsAnswer(vary));
    const read = (...headers: string[]) => w.alice.get("k", headers);

    expect((await read()).xCache).toBe("MISS");
    expect((await read()).xCache).toBe("HIT");
    for (const origin of ["https://a", "https://b", "https://a"]) {
      const seen = await read("Origin", origin);
      const allowed = origin === "https://a" ? origin : undefined;
      expect(seen.fields.get("access-control-allow-origin")).toBe(allowed);
      expect(seen.body.toString()).toBe("hello");
    }
    expect((await read()).xCache).toBe("HIT");
  });
});

test("an answer for every origin is stored and hit by pages and SDKs", async () => {
  await using w = await World.open();
  await w.teach(w.alice);
  const headers = [...BODY, "Access-Control-Allow-Origin", "*"];
  w.upstream.on("GET", targetOf("k"), answer({ headers, body: "hello" }));
  const labels: (string | undefined)[] = [];
  for (const origin of [["Origin", "https://a"], ["Origin", "https://b"], []]) {
    labels.push((await w.alice.get("k", origin)).xCache);
  }
  expect(labels).toEqual(["MISS", "HIT", "HIT"]);
});
