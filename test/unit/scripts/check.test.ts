import { describe, expect, test } from "bun:test";

import { complaint, testCounts } from "../../../scripts/check.ts";

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

describe("what is shown of a failed suite", () => {
  test("is the names of what failed, then what those files printed, and nothing that passed", () => {
    const output = [
      "test/a.test.ts:\n(pass) good [1ms]\n\n",
      "test/b.test.ts:\nerror: broken\n(fail) bad [2ms]\n\n",
      "test/c.test.ts:\n(skip) left out\n\n 1 pass\n 1 skip\n 1 fail\n",
    ].join("");
    const step = { name: "unit", command: [], tests: "test" };
    const [name, ...rest] = complaint({ step, output }).split("\n");
    expect(name).toBe("(fail) bad [2ms]");
    expect(rest.join("\n")).toContain("test/b.test.ts:\nerror: broken");
    expect(rest.join("\n")).not.toContain("a.test.ts");
    expect(rest.join("\n")).not.toContain("left out");
  });
});
