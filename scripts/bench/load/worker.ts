/**
 * The process of the load generator: a `LoadPlan` as JSON on standard input, a `LoadResult` on
 * standard output. A process of its own, so that it can be pinned to a core and can block.
 */

import { generateLoad } from "./generator.ts";
import type { LoadPlan } from "./plan.ts";

// Bun.nanoseconds counts from the start of the process, so nothing here depends on wall time.
const plan = JSON.parse(await Bun.stdin.text()) as LoadPlan;
process.stdout.write(JSON.stringify(generateLoad(plan)));
