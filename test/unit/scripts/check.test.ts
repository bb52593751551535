import { describe, expect, test } from "bun:test";

import { testCounts } from "../../../scripts/check.ts";

describe("the counts of bun test", () => {
  test("are read from its closing lines", () => {
    const output =
      " --seed=1\n 36 pass\n 2 skip\n 1 todo\n 4 fail\n 45 expect() calls\nRan 43 tests.\n";
    expect(testCounts(output)).toEqual({ passed: 36, failed: 4, skipped: 3 });
  });

  test("are not read from what a test prints before", () => {
    expect(testCounts(" 7 fail\n 1 pass\n 0 fail\n")).toEqual({ passed: 1, failed: 0, skipped: 0 });
  });

  test("are zero when the runner did not get that far", () => {
    expect(testCounts("error: Module not found")).toEqual({ passed: 0, failed: 0, skipped: 0 });
  });
});
