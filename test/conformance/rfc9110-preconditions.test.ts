// RFC 9110 §13 as a table: whether a request goes ahead. Each row names its preconditions and
// what is stored; `GET` and `PUT` columns are the outcomes for a read and a write.

import { describe, expect, test } from "bun:test";
import {
  evaluatePreconditions,
  hasPreconditions,
  ifRangeMatches,
  type Validator,
} from "../../src/http/conditional.ts";
import { Fields } from "../../src/http/fields.ts";

const GO = "proceed";
const NOT_MODIFIED = "not-modified";
const FAILED = "precondition-failed";
type Outcome = typeof GO | typeof NOT_MODIFIED | typeof FAILED;

const BEFORE = "Sat, 29 Oct 1994 19:43:30 GMT";
const MODIFIED = "Sat, 29 Oct 1994 19:43:31 GMT";
const AFTER = "Sat, 29 Oct 1994 19:43:32 GMT";

const STORED: Validator = { etag: '"a"', lastModified: MODIFIED };
const WEAK: Validator = { etag: 'W/"a"', lastModified: MODIFIED };
const UNDATED: Validator = { etag: '"a"', lastModified: undefined };
const NOTHING = undefined;

type Row = readonly [
  why: string,
  fields: readonly string[],
  stored: Validator | undefined,
  get: Outcome,
  put: Outcome,
];

const rows: readonly Row[] = [
  ["no precondition", [], STORED, GO, GO],

  // §13.1.1 If-Match: strong comparison.
  ["If-Match names the tag", ["If-Match", '"a"'], STORED, GO, GO],
  ["If-Match names another", ["If-Match", '"b"'], STORED, FAILED, FAILED],
  ["If-Match lists it", ["If-Match", '"x", "a", "y"'], STORED, GO, GO],
  ["If-Match lists it without blanks", ["If-Match", '"x","a"'], STORED, GO, GO],
  ["If-Match lists others", ["If-Match", '"x", "y"'], STORED, FAILED, FAILED],
  ["If-Match repeated, second names it", ["If-Match", '"x"', "If-Match", '"a"'], STORED, GO, GO],
  ["If-Match: * and something is stored", ["If-Match", "*"], STORED, GO, GO],
  ["If-Match: * and nothing is stored", ["If-Match", "*"], NOTHING, FAILED, FAILED],
  ["If-Match and nothing is stored", ["If-Match", '"a"'], NOTHING, FAILED, FAILED],
  ["If-Match with a weak tag", ["If-Match", 'W/"a"'], STORED, FAILED, FAILED],
  ["If-Match against a weak tag", ["If-Match", '"a"'], WEAK, FAILED, FAILED],
  ["If-Match weak against weak", ["If-Match", 'W/"a"'], WEAK, FAILED, FAILED],
  ["If-Match without quotes, as S3 takes it", ["If-Match", "a"], STORED, GO, GO],
  ["If-Match empty", ["If-Match", ""], STORED, FAILED, FAILED],
  ["If-Match in another case of letters", ["If-Match", '"A"'], STORED, FAILED, FAILED],
  ["If-Match with a comma inside the tag", ["If-Match", '"a,b"'], STORED, FAILED, FAILED],

  // §13.1.4 If-Unmodified-Since.
  ["unmodified since an earlier second", ["If-Unmodified-Since", BEFORE], STORED, FAILED, FAILED],
  ["unmodified since that second", ["If-Unmodified-Since", MODIFIED], STORED, GO, GO],
  ["unmodified since a later second", ["If-Unmodified-Since", AFTER], STORED, GO, GO],
  ["unmodified since an unreadable date", ["If-Unmodified-Since", "yesterday"], STORED, GO, GO],
  ["unmodified, but no date is stored", ["If-Unmodified-Since", BEFORE], UNDATED, GO, GO],
  ["unmodified, but nothing is stored", ["If-Unmodified-Since", BEFORE], NOTHING, GO, GO],
  [
    "If-Unmodified-Since twice is no date",
    ["If-Unmodified-Since", BEFORE, "If-Unmodified-Since", BEFORE],
    STORED,
    GO,
    GO,
  ],
  // §13.2.2 step 1 before step 2, and S3's documented pair.
  [
    "a matching If-Match silences If-Unmodified-Since",
    ["If-Match", '"a"', "If-Unmodified-Since", BEFORE],
    STORED,
    GO,
    GO,
  ],
  [
    "a failing If-Match decides",
    ["If-Match", '"b"', "If-Unmodified-Since", AFTER],
    STORED,
    FAILED,
    FAILED,
  ],

  // §13.1.2 If-None-Match: weak comparison; 304 to a read, 412 to a write.
  ["If-None-Match names the tag", ["If-None-Match", '"a"'], STORED, NOT_MODIFIED, FAILED],
  ["If-None-Match names another", ["If-None-Match", '"b"'], STORED, GO, GO],
  ["If-None-Match lists it", ["If-None-Match", '"x", "a"'], STORED, NOT_MODIFIED, FAILED],
  ["If-None-Match lists others", ["If-None-Match", '"x", "y"'], STORED, GO, GO],
  [
    "If-None-Match repeated, second names it",
    ["If-None-Match", '"x"', "If-None-Match", '"a"'],
    STORED,
    NOT_MODIFIED,
    FAILED,
  ],
  [
    "If-None-Match: * and something is stored",
    ["If-None-Match", "*"],
    STORED,
    NOT_MODIFIED,
    FAILED,
  ],
  ["If-None-Match: * and nothing is stored", ["If-None-Match", "*"], NOTHING, GO, GO],
  ["If-None-Match and nothing is stored", ["If-None-Match", '"a"'], NOTHING, GO, GO],
  ["If-None-Match with a weak tag", ["If-None-Match", 'W/"a"'], STORED, NOT_MODIFIED, FAILED],
  ["If-None-Match against a weak tag", ["If-None-Match", '"a"'], WEAK, NOT_MODIFIED, FAILED],
  ["If-None-Match without quotes", ["If-None-Match", "a"], STORED, NOT_MODIFIED, FAILED],
  ["If-None-Match lists without quotes", ["If-None-Match", "x, a"], STORED, NOT_MODIFIED, FAILED],
  ["If-None-Match lists a star", ["If-None-Match", '"x", *'], STORED, GO, GO],

  // §13.1.3 If-Modified-Since: reads only.
  ["modified since an earlier second", ["If-Modified-Since", BEFORE], STORED, GO, GO],
  ["modified since that second", ["If-Modified-Since", MODIFIED], STORED, NOT_MODIFIED, GO],
  ["modified since a later second", ["If-Modified-Since", AFTER], STORED, NOT_MODIFIED, GO],
  ["modified since an unreadable date", ["If-Modified-Since", "soon"], STORED, GO, GO],
  ["modified, but no date is stored", ["If-Modified-Since", AFTER], UNDATED, GO, GO],
  [
    "If-Modified-Since in the asctime form",
    ["If-Modified-Since", "Sat Oct 29 19:43:31 1994"],
    STORED,
    NOT_MODIFIED,
    GO,
  ],
  [
    "If-Modified-Since in the RFC 850 form",
    ["If-Modified-Since", "Saturday, 29-Oct-94 19:43:31 GMT"],
    STORED,
    NOT_MODIFIED,
    GO,
  ],
  [
    "If-Modified-Since twice is no date",
    ["If-Modified-Since", AFTER, "If-Modified-Since", AFTER],
    STORED,
    GO,
    GO,
  ],
  // §13.2.2 step 3 before step 4: the date counts only without If-None-Match.
  [
    "a tag that differs silences an equal date",
    ["If-None-Match", '"b"', "If-Modified-Since", AFTER],
    STORED,
    GO,
    GO,
  ],
  [
    "a tag that matches silences an older date",
    ["If-None-Match", '"a"', "If-Modified-Since", BEFORE],
    STORED,
    NOT_MODIFIED,
    FAILED,
  ],
  // All four, in order.
  [
    "If-Match fails before If-None-Match is asked",
    ["If-Match", '"b"', "If-None-Match", '"a"'],
    STORED,
    FAILED,
    FAILED,
  ],
  [
    "If-Match holds, then If-None-Match decides",
    ["If-Match", '"a"', "If-None-Match", '"a"'],
    STORED,
    NOT_MODIFIED,
    FAILED,
  ],
  [
    "If-Unmodified-Since fails before If-None-Match is asked",
    ["If-Unmodified-Since", BEFORE, "If-None-Match", '"a"'],
    STORED,
    FAILED,
    FAILED,
  ],
  [
    "If-Match holds, then If-Modified-Since decides",
    ["If-Match", '"a"', "If-Modified-Since", AFTER],
    STORED,
    NOT_MODIFIED,
    GO,
  ],
];

describe("preconditions", () => {
  test.each(rows)("%s", (_why, raw, stored, get, put) => {
    const fields = new Fields(raw);
    expect(evaluatePreconditions(fields, stored, "GET")).toBe(get);
    expect(evaluatePreconditions(fields, stored, "HEAD")).toBe(get);
    expect(evaluatePreconditions(fields, stored, "PUT")).toBe(put);
    expect(evaluatePreconditions(fields, stored, "DELETE")).toBe(put);
    expect(hasPreconditions(fields)).toBe(raw.length > 0);
  });

  test("without a stored tag a list matches nothing, and * still does", () => {
    const untagged = { etag: undefined, lastModified: MODIFIED };
    const naming = new Fields(["If-None-Match", '"a"']);
    const any = new Fields(["If-None-Match", "*"]);
    expect(evaluatePreconditions(naming, untagged, "GET")).toBe(GO);
    expect(evaluatePreconditions(any, untagged, "GET")).toBe(NOT_MODIFIED);
  });
});

// §13.1.5: whether the Range of the same request applies.
const DATED: Validator = { ...STORED, date: "Sat, 29 Oct 1994 19:43:32 GMT" };
const FRESHLY_MODIFIED: Validator = { ...STORED, date: MODIFIED };

const ifRangeRows: readonly (readonly [
  why: string,
  value: string | undefined,
  stored: Validator,
  applies: boolean,
])[] = [
  ["no If-Range", undefined, STORED, true],
  ["the same tag", '"a"', STORED, true],
  ["another tag", '"b"', STORED, false],
  ["a weak tag never matches", 'W/"a"', STORED, false],
  ["a stored weak tag never matches", '"a"', WEAK, false],
  ["weak against weak neither", 'W/"a"', WEAK, false],
  ["the tag without quotes", "a", STORED, true],
  ["a star is no tag", "*", STORED, false],
  ["a list is no tag", '"a", "b"', STORED, false],
  ["the very same date", MODIFIED, STORED, true],
  ["a later date is not the same", AFTER, STORED, false],
  ["an earlier date is not the same", BEFORE, STORED, false],
  ["a date, but none is stored", MODIFIED, UNDATED, false],
  ["the same date, a second old when it was sent: strong", MODIFIED, DATED, true],
  ["the same date, set in the second it was sent: weak", MODIFIED, FRESHLY_MODIFIED, false],
  ["rubbish", "{}", STORED, false],
  ["an empty value", "", STORED, false],
];

describe("If-Range", () => {
  test.each(ifRangeRows)("%s", (_why, value, stored, applies) => {
    const fields = new Fields(value === undefined ? [] : ["If-Range", value]);
    expect(ifRangeMatches(fields, stored)).toBe(applies);
  });
});
