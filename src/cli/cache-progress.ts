/**
 * The progress bar of the long-running cache tools: on standard error, and only when a
 * person watches it, so that a pipe and a log get nothing but the result.
 */

import { isatty } from "node:tty";

import { formatByteSizeRounded } from "../base/byte-size.ts";

export interface Progress {
  /** The end moved: more work was found. */
  setTotal(totalBytes: number): void;
  advanceTo(doneBytes: number): void;
  /** Clears the line. Call once, also after a failure. */
  stop(): void;
}

const SILENT: Progress = { setTotal() {}, advanceTo() {}, stop() {} };

/** A bar over `totalBytes`; `label` is the word before it. */
export async function startProgress(label: string, totalBytes: number): Promise<Progress> {
  if (!isatty(process.stderr.fd)) return SILENT;
  const { SingleBar, Presets } = await import("cli-progress");
  const bar = new SingleBar(
    {
      stream: process.stderr,
      format: `${label} {bar} {percentage} %  {value} of {total}  {eta_formatted} left`,
      formatValue: (value, _options, type) =>
        type === "value" || type === "total" ? formatByteSizeRounded(value) : String(value),
      etaBuffer: 1000,
      clearOnComplete: true,
    },
    Presets.shades_grey,
  );
  bar.start(totalBytes, 0);
  return {
    setTotal: (bytes) => bar.setTotal(bytes),
    advanceTo: (bytes) => bar.update(bytes),
    stop: () => bar.stop(),
  };
}
