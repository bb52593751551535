import { describe, expect, test } from "bun:test";

import {
  compare,
  differingOf,
  fullTable,
  lossesOf,
  summaryTable,
  tally,
} from "../../../scripts/compat/comparison.ts";
import { OWN_USERS, parseConf, redirectConf, renderConf } from "../../../scripts/compat/conf.ts";
import { parsePassList, regressionsOf, renderPassList } from "../../../scripts/compat/pass-list.ts";
import { replaceSection } from "../../../scripts/compat/section.ts";
import { TOPIC_NAMES, topicOf } from "../../../scripts/compat/selection.ts";
import { parseResults } from "../../../scripts/compat/suite.ts";

const line = (name: string, outcome: string, because = ""): string =>
  `${JSON.stringify({ name, outcome, seconds: 0.1, because, marks: [] })}\n`;

const results = (outcomes: Readonly<Record<string, string>>) =>
  parseResults(
    Object.entries(outcomes)
      .map(([name, outcome]) => line(name, outcome, outcome === "passed" ? "" : `why ${name}`))
      .join(""),
  );

describe("the suite's configuration", () => {
  const SAMPLE = `# a comment
[DEFAULT]
host = s3.example
port = 8000
is_secure = True
[s3 main]
; another
access_key = A
secret_key = b/c+d==
host = not this one
[s3 alt]
access_key: X
secret_key:y
[iam]
email = nobody@example.com
`;

  test("says where the server is and who its users are", () => {
    expect(parseConf(SAMPLE)).toEqual({
      endpoint: "https://s3.example:8000",
      users: [
        { section: "s3 main", accessKeyId: "A", secretAccessKey: "b/c+d==" },
        { section: "s3 alt", accessKeyId: "X", secretAccessKey: "y" },
      ],
    });
  });

  test("is sent to another server with everything else as it was", () => {
    const redirected = redirectConf(SAMPLE, "http://127.0.0.1:4711");
    expect(parseConf(redirected)).toEqual({
      ...parseConf(SAMPLE),
      endpoint: "http://127.0.0.1:4711",
    });
    expect(redirected).toContain("host = not this one");
    expect(redirected.split("\n")).toHaveLength(SAMPLE.split("\n").length);
  });

  test("of a server of ours names every section the suite reads", () => {
    const text = renderConf("http://127.0.0.1:1", OWN_USERS, { tenant: "t" });
    expect(parseConf(text).users).toEqual([...OWN_USERS]);
    expect(text).toContain("user_id = t$tag-tenant");
  });

  test.each([
    ["[s3 main]\naccess_key = a\nsecret_key = b\n", "host and port"],
    ["[DEFAULT]\nhost = h\nport = 1\n", "s3 main"],
  ])("without what is needed is refused (%j)", (text, complaint) => {
    expect(() => parseConf(text)).toThrow(complaint);
  });
});

describe("results", () => {
  test("of a run that was cut off are those with a whole line", () => {
    const text = line("a", "passed") + line("b", "failed", "so").slice(0, 20);
    expect([...parseResults(text).keys()]).toEqual(["a"]);
  });

  test("are counted by outcome", () => {
    expect(tally(results({ a: "passed", b: "failed", c: "skipped", d: "passed" }))).toBe(
      "2 passed, 1 failed, 1 skipped",
    );
  });
});

describe("a comparison", () => {
  const direct = results({ same: "failed", lost: "passed", gained: "failed", unreached: "passed" });
  const through = results({ same: "failed", lost: "failed", gained: "passed" });
  const tests = compare(direct, through);

  test("calls a test lost that passes directly only, or was not reached", () => {
    expect(lossesOf(tests).map(({ name }) => name)).toEqual(["lost", "unreached"]);
  });

  test("names whatever does not come to the same on both sides", () => {
    expect(differingOf(tests)).toEqual(["gained", "lost", "unreached"]);
  });

  test("says why a test did not pass, and of a lost one why it did not through the gateway", () => {
    expect(tests.find(({ name }) => name === "lost")?.because).toBe("why lost");
    expect(tests.find(({ name }) => name === "same")?.because).toBe("why same");
  });

  test("becomes a table by topic and one of every test", () => {
    expect(summaryTable(tests)).toContain("| **All** | 4 | 2 | 1 | 2 lost, 1 gained |");
    expect(fullTable(tests)).toContain("| lost | passed | failed | **lost** | why lost |");
  });

  test("keeps a table a table when an error has bars and line ends in it", () => {
    const text = line("x", "failed", "a | b\nc <d>");
    expect(fullTable(compare(parseResults(text), new Map()))).toContain("a \\| b c &lt;d>");
  });
});

describe("a pass list", () => {
  test("is read back as it was written", () => {
    const text = renderPassList(["about"], results({ b: "passed", a: "passed", c: "failed" }));
    expect(text).toBe("# about\na\nb\n");
    expect(parsePassList(text)).toEqual(["a", "b"]);
  });

  test("counts what failed, was skipped and not what was not run", () => {
    const list = ["a", "b", "c", "d"];
    expect(regressionsOf(list, results({ a: "passed", b: "failed", c: "skipped" }))).toEqual([
      "b",
      "c",
    ]);
  });
});

describe("a generated section", () => {
  const page = "before\n<!-- x: begin -->\nold\n<!-- x: end -->\nafter\n";

  test("replaces what is between its marks", () => {
    expect(replaceSection(page, "x", "new")).toBe(
      "before\n<!-- x: begin -->\nnew\n<!-- x: end -->\nafter\n",
    );
  });

  test("is an error where the marks are missing", () => {
    expect(() => replaceSection(page, "y", "new")).toThrow('no section "y"');
  });
});

test.each([
  ["test_headers.py::test_object_create_bad_md5_empty", "Request headers"],
  ["test_s3.py::test_bucket_list_prefix_basic", "Listings"],
  ["test_s3.py::test_multipart_upload", "Multipart uploads"],
  ["test_s3.py::test_ranged_request_response_code", "Ranges"],
  ["test_s3.py::test_get_object_ifmatch_good", "Conditions"],
  ["test_s3.py::test_bucket_create_naming_dns_long", "Buckets"],
  ["test_s3.py::test_object_read_not_exist", "Objects"],
])("%s is counted under %s", (name, topic) => {
  expect(topicOf(name)).toBe(topic);
  expect(TOPIC_NAMES).toContain(topic);
});
