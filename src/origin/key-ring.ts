/**
 * The key pairs the dev origin knows and what each may do in which bucket.
 *
 * Rights can be changed while the origin runs, because what a gateway does when a
 * right is taken away is exactly what needs testing. They live in memory: the
 * configuration is their home. Lasting, finer permissions are ACLs (acl.ts).
 */

/**
 * `own` is everything in the bucket, creating and deleting the bucket itself included.
 * `create` is creating buckets of that name only; who creates a bucket owns it.
 */
export type Right = "read" | "write" | "create" | "own";

/** In place of a bucket name: every bucket. */
export const ALL_BUCKETS = "*";

export interface OriginCredential {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  /** Rights by bucket name, or under `ALL_BUCKETS`; none when empty. */
  readonly rights: Readonly<Record<string, readonly Right[]>>;
}

/** One key pair that may do everything, and one that may do nothing until it is granted a right. */
export const DEFAULT_CREDENTIALS: readonly OriginCredential[] = [
  {
    accessKeyId: "tagdev",
    secretAccessKey: "tagdevsecret",
    rights: { [ALL_BUCKETS]: ["own"] },
  },
  { accessKeyId: "tagother", secretAccessKey: "tagothersecret", rights: {} },
];

interface KeyEntry {
  readonly secretAccessKey: string;
  readonly rights: Map<string, Set<Right>>;
}

export class KeyRing {
  readonly #keys = new Map<string, KeyEntry>();

  constructor(credentials: readonly OriginCredential[]) {
    for (const { accessKeyId, secretAccessKey, rights } of credentials) {
      const byBucket = Object.entries(rights).map(
        ([bucket, list]) => [bucket, new Set(list)] as const,
      );
      this.#keys.set(accessKeyId, { secretAccessKey, rights: new Map(byBucket) });
    }
  }

  /** Undefined: no such key pair. */
  secretOf(accessKeyId: string): string | undefined {
    return this.#keys.get(accessKeyId)?.secretAccessKey;
  }

  /** Whether the key itself, ACLs and ownership aside, has the right in the bucket. */
  has(accessKeyId: string, bucket: string, right: Right): boolean {
    const rights = this.#keys.get(accessKeyId)?.rights;
    return [rights?.get(bucket), rights?.get(ALL_BUCKETS)].some(
      (set) => set !== undefined && (set.has(right) || set.has("own")),
    );
  }

  /** Whether the key has any right in the bucket, so that it sees it in its list of buckets. */
  hasAny(accessKeyId: string, bucket: string): boolean {
    return this.has(accessKeyId, bucket, "read") || this.has(accessKeyId, bucket, "write");
  }

  /** Throws a RangeError for a key that is not known. */
  grant(accessKeyId: string, bucket: string, right: Right): void {
    const entry = this.#entry(accessKeyId);
    const set = entry.rights.get(bucket);
    if (set === undefined) entry.rights.set(bucket, new Set([right]));
    else set.add(right);
  }

  /** Takes one right away, or every right in the bucket when `right` is undefined. */
  revoke(accessKeyId: string, bucket: string, right?: Right): void {
    const { rights } = this.#entry(accessKeyId);
    if (right === undefined) rights.delete(bucket);
    else rights.get(bucket)?.delete(right);
  }

  #entry(accessKeyId: string): KeyEntry {
    const entry = this.#keys.get(accessKeyId);
    if (entry === undefined) throw new RangeError(`no key pair ${accessKeyId}`);
    return entry;
  }
}
