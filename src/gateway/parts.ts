/** What the gateway is made of. app.ts builds the parts; the files of this folder share them. */

import type { Auth } from "../auth/auth.ts";
import type { Clock } from "../base/clock.ts";
import type { Cache } from "../cache/cache.ts";
import type { Coalescer } from "../coalesce/coalescer.ts";
import type { UpstreamTransport } from "../upstream/transport.ts";
import type { GatewayObserver } from "./accounting.ts";
import type { Completions } from "./completions.ts";
import type { Landings } from "./landings.ts";
import type { Lessons } from "./lessons.ts";
import type { WarmCredit } from "./range-plan.ts";
import type { Responder } from "./respond.ts";
import type { BodyCopies } from "./warm-on-write.ts";

export interface GatewayOptions {
  /** Keys under this domain's sub-domains are addressed virtual-host style; undefined: path style only. */
  readonly virtualHostDomain: string | undefined;
  /** Requests of clients answered at the same time; below 0: no limit. */
  readonly inflightMax: number;
  /** How long a request waits for another's answer to teach its key or grant. */
  readonly lessonTimeoutMs: number;
  /** Store what is written before anybody reads it. */
  readonly warmOnWrite: boolean;
  /** Names this node in `x-amz-id-2`. */
  readonly hostId: string;
}

export interface Parts {
  readonly auth: Auth;
  readonly cache: Cache;
  readonly flights: Coalescer;
  readonly upstream: UpstreamTransport;
  readonly landings: Landings;
  readonly lessons: Lessons;
  readonly respond: Responder;
  readonly observer: GatewayObserver;
  readonly clock: Clock;
  /** How the store keeps large objects. */
  readonly blocks: {
    /** Objects from this size on are fetched in the blocks that are read, never as a whole on the side. */
    readonly thresholdBytes: number;
    /** The store's smallest block. */
    readonly alignBytes: number;
  };
  readonly warmCredit: WarmCredit;
  readonly completions: Completions;
  /** Undefined: writes only invalidate. */
  readonly warmOnWrite: BodyCopies | undefined;
  /** Runs work that no request waits for; failures are counted, a stop aborts its signal and waits. */
  readonly background: (name: string, run: (signal: AbortSignal) => Promise<void>) => void;
}
