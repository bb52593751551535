// Goal: whatever runs at the same time, a reader that begins after a write was acknowledged sees that
// write or a later one, and nobody ever sees bytes of two versions.
// Method: a running gateway between upstream and clients that start at random moments of the same few
// milliseconds; upstream remembers every state it had (history.ts). `RACE_ROUNDS=1000` for a
// long look, `READ_PATH=binary` for dist/tag as a process of its own.

import { afterAll, beforeAll, expect, test } from "bun:test";
import { systemClock } from "../../../src/base/clock.ts";
import { seededRandom } from "../../../src/base/random.ts";
import { sendAnswer, type Script } from "../../support/scripted-upstream.ts";
import { type Answer, BUCKET, targetOf, World } from "../read-path/world.ts";
import { History } from "./history.ts";
import { send, type Write } from "./writer.ts";

const ROUNDS = Number(process.env["RACE_ROUNDS"] ?? 20);
const SEED = Number(process.env["SEED"] ?? 1);
/** Everything of a round begins within this time. */
const SPREAD_MS = 12;
const LIMIT_MS = 20_000 + ROUNDS * 1000;

const random = seededRandom(SEED);
const NOISE = Buffer.from(random.bytes(400_000));
const XML = ["Content-Type", "application/xml"];

let w: World;
let history: History;
let rounds = 0;
const reads = { answered: 0, cut: 0 };

beforeAll(async () => {
  w = await World.open();
  history = new History();
  await w.teach(w.alice, w.bob);
  for (const method of ["PUT", "DELETE", "POST"]) w.upstream.on(method, /./, carryOut);
  w.s3.beforeHead = () => sometimes(6);
  w.s3.beforePiece = () => sometimes(2);
  w.s3.pieceBytes = 32 * 1024;
});

afterAll(async () => {
  await w[Symbol.asyncDispose]();
  expect(reads.cut).toBeLessThan(5 + reads.answered / 50);
});

/** Waits up to so long, often not at all. */
function sometimes(ms: number): Promise<void> | undefined {
  return random.float() < 0.5 ? undefined : systemClock.sleep(random.float() * ms);
}

/** A body unlike any other: a window of noise, of a size that may matter. */
function drawBody(): Buffer {
  const sizes = [random.below(100), 4096 + random.below(5), random.below(300_000)];
  const sizeBytes = 1 + (sizes[random.below(sizes.length)] ?? 0);
  const start = random.below(NOISE.length - sizeBytes - 8);
  return Buffer.concat([NOISE.subarray(start, start + sizeBytes), Buffer.from(random.bytes(8))]);
}

/** Makes upstream hold `body`, as of now. */
function hold(key: string, body: Buffer | undefined): number {
  if (body === undefined) w.s3.delete(BUCKET, key);
  else w.s3.put(BUCKET, key, body);
  return history.apply(key, body);
}

async function newObject(name: string): Promise<string> {
  rounds += 1;
  const key = `${name}-${rounds}`;
  hold(key, drawBody());
  if (random.float() < 0.7) await w.warm(key);
  return key;
}

type Range = readonly [start: number, end: number];

async function read(key: string): Promise<void> {
  const start = random.below(50_000);
  await readRange(
    key,
    random.float() < 0.3 ? [start, start + 1 + random.below(50_000)] : undefined,
  );
}

/** Undefined: the whole object. */
async function readRange(key: string, range: Range | undefined): Promise<void> {
  const client = random.float() < 0.5 ? w.alice : w.bob;
  await sometimes(SPREAD_MS);
  const floor = history.floor(key);
  const headers = range === undefined ? [] : ["Range", `bytes=${range[0]}-${range[1] - 1}`];
  const answer = await unlessCut(client.get(key, headers));
  if (answer !== undefined) history.check(key, floor, answer, range);
}

/**
 * Undefined when the connection ended before an answer: whoever reads an object whose bytes go
 * away upstream half-way may be cut off, but not be told anything wrong.
 */
async function unlessCut(answering: Promise<Answer>): Promise<Answer | undefined> {
  try {
    const answer = await answering;
    reads.answered += 1;
    return answer;
  } catch (error) {
    if (!String(error).includes("connection ended")) throw error;
    reads.cut += 1;
    return undefined;
  }
}

const readers = (key: string, count: number) => Array.from({ length: count }, () => read(key));

type Act = () => { headers: string[]; body?: string; status?: number };

/** By the number in its `x-amz-meta-write`: requests overtake each other on their way. */
const acts = new Map<string, Act>();

/** What upstream does with every write of a race: it carries it out between two waits. */
const carryOut: Script = async (call) => {
  await call.readBody();
  await sometimes(SPREAD_MS);
  const act = acts.get(call.request.field("x-amz-meta-write") ?? "");
  if (act === undefined) throw new Error("a write of nobody");
  const { body = "", ...told } = act();
  await sometimes(SPREAD_MS);
  await sendAnswer(call, { ...told, body });
};

/** Sends a write; answers what upstream said. */
async function write(request: Write, act: Act): Promise<Answer> {
  await sometimes(SPREAD_MS);
  const number = String(acts.size);
  acts.set(number, act);
  return send(w, { ...request, headers: ["x-amz-meta-write", number] });
}

/** Writes the key, and holds every later reader to it once the answer is there. */
async function put(key: string, body: Buffer | undefined): Promise<void> {
  let state = -1;
  const request: Write =
    body === undefined
      ? { method: "DELETE", target: targetOf(key) }
      : { method: "PUT", target: targetOf(key), body };
  const answer = await write(request, () => {
    state = hold(key, body);
    return { status: body === undefined ? 204 : 200, headers: ["ETag", `"${state}"`] };
  });
  expect(answer.status).toBeLessThan(300);
  history.acknowledge(key, state);
}

/** What is left behind when everybody is done must be the truth too, and stay it. */
async function aftermath(key: string): Promise<void> {
  for (let turn = 0; turn < 3; turn += 1) {
    const floor = history.floor(key);
    const answer = await w.alice.get(key);
    history.check(key, floor, answer);
    const truth = history.current(key);
    expect(answer.body.length === truth?.length || answer.status === 404).toBe(true);
    await sometimes(SPREAD_MS);
  }
}

test(
  `a write against a running fill (${ROUNDS} rounds)`,
  async () => {
    for (let round = 0; round < ROUNDS; round += 1) {
      const key = await newObject("fill");
      const writing = put(key, drawBody()).then(() => readers(key, 3));
      await Promise.all([...readers(key, 5), writing.then((late) => Promise.all(late))]);
      await aftermath(key);
    }
  },
  LIMIT_MS,
);

test(
  `a write against a write (${ROUNDS} rounds)`,
  async () => {
    for (let round = 0; round < ROUNDS; round += 1) {
      const key = await newObject("write");
      const writers = Array.from({ length: 3 }, async () => {
        await put(key, random.float() < 0.2 ? undefined : drawBody());
        await Promise.all(readers(key, 2));
      });
      await Promise.all([...writers, ...readers(key, 4)]);
      await aftermath(key);
    }
  },
  LIMIT_MS,
);

test(
  `a deletion against ranges that warm (${ROUNDS} rounds)`,
  async () => {
    for (let round = 0; round < ROUNDS; round += 1) {
      const key = await newObject("range");
      const deleting = put(key, undefined).then(() => Promise.all(readers(key, 2)));
      const ranges = Array.from({ length: 5 }, () => {
        const start = random.below(40_000);
        return readRange(key, [start, start + 1000]);
      });
      await Promise.all([deleting, ...ranges]);
      await aftermath(key);
    }
  },
  LIMIT_MS,
);

test(
  `an upload completed twice (${ROUNDS} rounds)`,
  async () => {
    for (let round = 0; round < ROUNDS; round += 1) {
      const key = await newObject("complete");
      const body = drawBody();
      let state = -1;
      const complete = async () => {
        const request: Write = {
          method: "POST",
          target: `${targetOf(key)}?uploadId=u`,
          body: "<C/>",
        };
        const answer = await write(request, () => {
          // Whoever is first completes it. Some stores remember the upload for a while, some do not.
          const isFirst = state === -1;
          if (isFirst) state = hold(key, body);
          return isFirst || random.float() < 0.5
            ? { headers: XML, body: "<CompleteMultipartUploadResult/>" }
            : { status: 404, headers: XML, body: "<Error><Code>NoSuchUpload</Code></Error>" };
        });
        if (answer.status === 200) history.acknowledge(key, state);
        await Promise.all(readers(key, 2));
      };
      await Promise.all([complete(), complete(), ...readers(key, 4)]);
      await aftermath(key);
    }
  },
  LIMIT_MS,
);

test(
  `a bulk deletion with failures and versions (${ROUNDS} rounds)`,
  async () => {
    for (let round = 0; round < ROUNDS; round += 1) {
      const keys: string[] = [];
      for (let count = 0; count < 4; count += 1) keys.push(await newObject("bulk"));
      const mentions = keys.flatMap((key) => (random.float() < 0.3 ? [key, key] : [key]));
      const deleted = new Map<string, number>();
      const objects = mentions.map((key, at) => {
        const version = random.float() < 0.5 ? `<VersionId>v${at}</VersionId>` : "";
        return `<Object><Key>${key}</Key>${version}</Object>`;
      });
      const deleting = write(
        {
          method: "POST",
          target: `/${BUCKET}?delete`,
          body: `<Delete>${objects.join("")}</Delete>`,
        },
        () => {
          const told = mentions.map((key) => {
            if (random.float() < 0.3)
              return `<Error><Key>${key}</Key><Code>AccessDenied</Code></Error>`;
            if (!deleted.has(key)) deleted.set(key, hold(key, undefined));
            return `<Deleted><Key>${key}</Key><VersionId>null</VersionId></Deleted>`;
          });
          return { headers: XML, body: `<DeleteResult>${told.join("")}</DeleteResult>` };
        },
      ).then(async () => {
        for (const [key, state] of deleted) history.acknowledge(key, state);
        await Promise.all(keys.flatMap((key) => readers(key, 2)));
      });
      await Promise.all([deleting, ...keys.flatMap((key) => readers(key, 2))]);
      for (const key of keys) await aftermath(key);
    }
  },
  LIMIT_MS,
);
