/** Keys that break proxies: each holds something that some layer likes to rewrite. */

export interface AwkwardKey {
  readonly name: string;
  readonly key: string;
}

export const AWKWARD_KEYS: readonly AwkwardKey[] = [
  { name: "spaces", key: "a key with  two spaces" },
  { name: "leading and trailing space", key: " padded " },
  { name: "plus", key: "a+b" },
  { name: "percent", key: "100%" },
  { name: "a percent sequence that is text", key: "a%20b" },
  { name: "%2F that is text", key: "a%2Fb" },
  { name: "question mark", key: "what?x=1" },
  { name: "hash", key: "a#b" },
  { name: "double slash", key: "a//b" },
  { name: "leading slash", key: "/a" },
  { name: "trailing slash", key: "a/" },
  { name: "dot dot segment", key: "a/../b" },
  { name: "leading dot dot", key: "../b" },
  { name: "dot segment", key: "a/./b" },
  { name: "dot dot alone", key: ".." },
  { name: "dot alone", key: "." },
  { name: "non-ASCII", key: "Grüße/日本語/🚀" },
  { name: "decomposed accent", key: "e\u0301" },
  { name: "1024 bytes", key: "k".repeat(1024) },
  { name: "1024 bytes, many of them encoded", key: "ü".repeat(512) },
  { name: "XML characters", key: "&<>\"'" },
  { name: "newline", key: "two\nlines" },
  { name: "backslash", key: "a\\b" },
  { name: "semicolon, equals, comma, tilde", key: "a;b=c,d~e" },
  { name: "the metrics path", key: "metrics" },
];
