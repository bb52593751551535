/** What a write changes, and how it can end. */

import type { ObjectId } from "../s3/object-id.ts";

export type WriteTargets =
  | { readonly kind: "objects"; readonly ids: readonly ObjectId[] }
  | { readonly kind: "bucket"; readonly bucket: string };

export type WriteOutcome =
  | "succeeded"
  /** Upstream said no, or never got it: nothing changed, what is stored stays. */
  | "rejected"
  /** The answer never came: upstream may have done it, or may still do it. */
  | "unknown";
