/**
 * What the exchanges of all listeners have in common: the request as the handler sees it, with a
 * signal made only when somebody looks, and the end of a reply, which happens exactly once.
 */

import { unreachable } from "../base/assert.ts";
import type { ByteSource } from "../base/byte-source.ts";
import type { Inbound, Reply, ReplyBody } from "../http/exchange.ts";
import type { Fields } from "../http/fields.ts";
import { clientGone } from "./options.ts";
import type { ListenerLimits, ListenerOptions } from "./options.ts";

/** What a listener shares with its connections and exchanges. */
export interface Setting extends ListenerOptions {
  readonly limits: ListenerLimits;
  isDraining: boolean;
}

/** The parts of a request every listener has to find out for itself. */
export interface RequestParts {
  readonly method: string;
  readonly rawTarget: string;
  readonly fields: Fields;
  readonly remoteAddress: string;
}

export abstract class ServerInbound implements Inbound {
  readonly id: string;
  readonly method: string;
  readonly rawTarget: string;
  readonly fields: Fields;
  readonly remoteAddress: string;
  readonly isSecure: boolean;
  readonly receivedAtMs: number;
  abstract readonly body: ByteSource | null;
  #controller: AbortController | undefined;
  #isGone = false;

  constructor(parts: RequestParts, setting: Setting) {
    this.id = setting.newRequestId();
    this.method = parts.method;
    this.rawTarget = parts.rawTarget;
    this.fields = parts.fields;
    this.remoteAddress = parts.remoteAddress;
    this.isSecure = setting.tls !== undefined;
    this.receivedAtMs = setting.clock.monotonicMs();
  }

  get signal(): AbortSignal {
    if (this.#controller === undefined) {
      this.#controller = new AbortController();
      if (this.#isGone) this.#controller.abort(clientGone());
      else this.onSignalWanted();
    }
    return this.#controller.signal;
  }

  /** The client left before its reply was complete. */
  protected get isGone(): boolean {
    return this.#isGone;
  }

  protected markGone(): void {
    if (this.#isGone) return;
    this.#isGone = true;
    this.#controller?.abort(clientGone());
  }

  /** Called once, when somebody looks at the signal of a client that is still there. */
  protected onSignalWanted(): void {}
}

/** A reply on its way out: its body is released once and its end is told once. */
export class OutgoingReply {
  readonly reply: Reply;
  #body: ReplyBody;
  #isReleased = false;
  #isFinished = false;

  constructor(reply: Reply) {
    this.reply = reply;
    this.#body = reply.body;
  }

  /** Sends `body` in place of the one it had, which is released; not after `finish`. */
  replaceBody(body: ReplyBody): void {
    this.release();
    this.#isReleased = false;
    this.#body = body;
  }

  /** Nothing more is read from the body. */
  release(): void {
    if (this.#isReleased) return;
    this.#isReleased = true;
    releaseBody(this.#body);
  }

  /** Leaves the release of the body to the caller, who must call what is returned. */
  detachBody(): () => void {
    if (this.#isReleased) return () => undefined;
    this.#isReleased = true;
    const body = this.#body;
    return () => releaseBody(body);
  }

  /** Nothing more is sent. Releases the body too. */
  finish(bytesSent: number, isComplete: boolean): void {
    if (this.#isFinished) return;
    this.#isFinished = true;
    this.release();
    this.reply.onFinish?.({ bytesSent, isComplete });
  }
}

function releaseBody(body: ReplyBody): void {
  switch (body.kind) {
    case "none":
      return;
    case "bytes":
      body.release?.();
      return;
    case "file":
      body.file.release();
      return;
    case "stream":
      body.source.close();
      return;
    default:
      unreachable(body);
  }
}

/** For requests that no handler should see. */
export const BAD_REQUEST: Reply = { status: 400, headers: [], body: { kind: "none" } };

/** For handlers that threw: we are wrong, and the client learns no more than that. */
export const INTERNAL_ERROR: Reply = { status: 500, headers: [], body: { kind: "none" } };
