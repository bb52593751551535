/**
 * Loaded before every test file. A developer's own settings must not decide how a test ends, so
 * the variables that TAG and the S3 clients read are removed. TAG_TEST_* speak to the tests.
 */

for (const name of Object.keys(process.env)) {
  const isForeign = /^(?:TAG_|AWS_)/.test(name) && !name.startsWith("TAG_TEST_");
  if (isForeign) delete process.env[name];
}
