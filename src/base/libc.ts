/** Calls of libc that Bun does not offer. */

export const LIBC = "libc.so.6";

/** Of recv(2) and send(2): do not wait. */
export const MSG_DONTWAIT = 0x40;

/**
 * What `open` makes of libc, once it is first asked for: a command that needs none never pays for it. `otherwise` where
 * there is no such library or call (macOS, musl).
 */
export function fromLibc<T, Otherwise>(open: () => T, otherwise: Otherwise): () => T | Otherwise {
  let found: T | Otherwise | undefined;
  return () => {
    if (found !== undefined) return found;
    try {
      found = process.platform === "linux" ? open() : otherwise;
    } catch {
      found = otherwise;
    }
    return found;
  };
}
