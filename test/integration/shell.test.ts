import { expect, test } from "bun:test";
import { join } from "node:path";

const ROOT = join(import.meta.dir, "../..");
const SCRIPTS = [
  "install.sh",
  ".ci/run",
  "scripts/quickstart.sh",
  "scripts/test.sh",
  "scripts/hooks/pre-commit",
];

test.skipIf(Bun.which("shellcheck") === null)("shell scripts are shellcheck-clean", () => {
  const run = Bun.spawnSync(["shellcheck", "--external-sources", ...SCRIPTS], { cwd: ROOT });
  expect(run.stdout.toString()).toBe("");
  expect(run.exitCode).toBe(0);
});
