/**
 * Loaded before every test file. A developer's own settings must not decide how a test ends, so
 * the variables that TAG and the S3 clients read are removed. TAG_TEST_* speak to the tests.
 * Nor must a busy machine: the time limit is there to end a test that hangs, and far off.
 */

import { setDefaultTimeout } from "bun:test";

setDefaultTimeout(120_000);

for (const name of Object.keys(process.env)) {
  const isForeign = /^(?:TAG_|AWS_)/.test(name) && !name.startsWith("TAG_TEST_");
  if (isForeign) delete process.env[name];
}
