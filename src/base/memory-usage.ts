/** What the process says of its own memory. */

export type MemoryUsage = ReturnType<typeof process.memoryUsage>;

/**
 * `process.memoryUsage()` in bytes; undefined when it cannot be told just now. Bun (1.4.5) opens a file of /proc for it,
 * and throws when the process has no descriptor left: a moment in which nothing else may break.
 */
export function memoryUsage(): MemoryUsage | undefined {
  try {
    return process.memoryUsage();
  } catch {
    return undefined;
  }
}
