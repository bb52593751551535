import { describe, expect, test } from "bun:test";
import {
  child,
  children,
  childText,
  escapeXml,
  parseCompleteRequest,
  parseDeleteRequest,
  parseDeleteResult,
  parseTagging,
  parseXml,
  renderXml,
  rootElementName,
  S3_NAMESPACE,
} from "../../../src/s3/xml.ts";
import { AWKWARD_KEYS } from "../../support/awkward-keys.ts";

describe("a document", () => {
  test("is read without namespaces, attributes, trimming or numbers", () => {
    const document = parseXml(
      `\uFEFF \n<?xml version="1.0" encoding="UTF-8"?><!-- note -->
       <s:A xmlns:s="${S3_NAMESPACE}" id="1"><B> 007 </B><B>true</B><C><D/></C></s:A>`,
    );
    expect(document?.root).toBe("A");
    expect(children(document?.content, "B")).toEqual([" 007 ", "true"]);
    expect(childText(document?.content, "B")).toBe(" 007 ");
    expect(childText(child(document?.content, "C"), "D")).toBe("");
    expect(child(document?.content, "X")).toBeUndefined();
    expect(childText(document?.content, "C")).toBeUndefined();
    expect(children("text", "B")).toEqual([]);
    expect(child(document?.content, "constructor")).toBeUndefined();
  });

  test("has the five entities and character references, in text but not in CDATA", () => {
    const text = "&lt;&gt;&amp;&quot;&apos; &#65;&#x1F680;&#10;&#13;&#1; &amp;lt;";
    const document = parseXml(`<A>${text}<![CDATA[&amp;<]]></A>`);
    expect(document?.content).toBe("<>&\"' A🚀\n\r\u0001 &lt;&amp;<");
  });

  test.each([
    ["", "nothing"],
    ["   ", "blanks"],
    ["text", "no element"],
    ["{}", "JSON"],
    ["<A>", "not closed"],
    ["<A></B>", "closed by another"],
    ["<A><B></A></B>", "crossed"],
    ["<A/><B/>", "two roots"],
    ["<![CDATA[x]]><A/>", "text before the root"],
    ["x<A/>", "text before the root"],
    ["<A/>x", "text behind the root"],
    ["\uFEFF\uFEFF<A/>", "a second byte order mark, which is text"], // found by fuzzing
    ["\u00A0<A/>", "a blank that is none in XML"],
    ["<A/>\uFEFF", "a byte order mark at the end"],
    ["<A>&nbsp;</A>", "an entity XML does not define"],
    ["<A>&#0;</A>", "a NUL"],
    ["<A>&#xD800;</A>", "half a character"],
    ["<A>&#x110000;</A>", "beyond Unicode"],
    ["<A>&</A>", "a bare ampersand"],
    ["<A>&constructor;</A>", "a name of Object.prototype"],
    ["<!DOCTYPE a><A/>", "a document type"],
    ["<!DOCTYPE a [<!ENTITY x 'y'>]><A>&x;</A>", "an entity of its own"],
    ["<!DOCTYPE a [<!ENTITY x SYSTEM 'file:///etc/passwd'>]><A>&x;</A>", "a foreign entity"],
    ["<A><__proto__>1</__proto__></A>", "an element named to poison"],
    [`${"<A>".repeat(40)}${"</A>".repeat(40)}`, "too deep"],
    ["<A>".repeat(20_000), "far too deep"],
  ])("is refused: %j (%s)", (text) => {
    expect(parseXml(text)).toBeUndefined();
  });
});

describe("a rendered document", () => {
  test("has a declaration, S3's namespace and the elements in order", () => {
    const text = renderXml("ListBucketResult", {
      Name: "bkt",
      MaxKeys: 1000,
      IsTruncated: false,
      Marker: "",
      NextMarker: undefined,
      Contents: [{ Key: "a" }, { Key: "b" }],
    });
    expect(text).toBe(
      `<?xml version="1.0" encoding="UTF-8"?>\n<ListBucketResult xmlns="${S3_NAMESPACE}">` +
        "<Name>bkt</Name><MaxKeys>1000</MaxKeys><IsTruncated>false</IsTruncated><Marker></Marker>" +
        "<Contents><Key>a</Key></Contents><Contents><Key>b</Key></Contents></ListBucketResult>",
    );
  });

  test("takes attributes, and no namespace when told so", () => {
    const text = renderXml("A", { Grantee: { "@xsi:type": 'x"&', ID: "1" } }, "");
    expect(text).toEndWith('<A><Grantee xsi:type="x&quot;&amp;"><ID>1</ID></Grantee></A>');
  });

  test.each([...AWKWARD_KEYS, { name: "control characters", key: "\u0001\t\r\n\u001f\u007f" }])(
    "carries a key with $name there and back",
    ({ key }) => {
      const text = renderXml("Delete", { Object: { Key: key } });
      expect(parseDeleteRequest(text)?.objects[0]?.key).toBe(key);
    },
  );

  test("replaces what is no character", () => {
    expect(escapeXml("a\ud800b")).toBe("a\ufffdb");
  });
});

describe("DeleteObjects", () => {
  test("names keys, versions and tags in order", () => {
    const request = parseDeleteRequest(
      `<Delete xmlns="${S3_NAMESPACE}"><Object><Key> a </Key><VersionId>v1</VersionId></Object>
       <Object><ETag>"e"</ETag><Key>__proto__</Key></Object><Object><Key>a</Key><VersionId/></Object>
       <Quiet>true</Quiet></Delete>`,
    );
    expect(request).toEqual({
      objects: [
        { key: " a ", versionId: "v1", etag: undefined },
        { key: "__proto__", versionId: undefined, etag: '"e"' },
        { key: "a", versionId: undefined, etag: undefined },
      ],
      quiet: true,
    });
  });

  test("takes a thousand keys", () => {
    const Object = Array.from({ length: 1000 }, (_, index) => ({ Key: `some/key&${index}` }));
    const request = parseDeleteRequest(renderXml("Delete", { Object }));
    expect(request?.objects).toHaveLength(1000);
    expect(request?.objects[999]?.key).toBe("some/key&999");
    expect(request?.quiet).toBe(false);
  });

  test.each([
    ["<Delete/>", "names nothing"],
    ["<Delete></Delete>", "names nothing"],
    ["<Delete><Object/></Delete>", "an object without a key"],
    ["<Delete><Object><Key/></Object></Delete>", "an empty key"],
    ["<Delete><Object><Key>a</Key></Object><Object/></Delete>", "one of them without a key"],
    ["<Delete><Object><Key><B/></Key></Object></Delete>", "a key that is an element"],
    ["<Remove><Object><Key>a</Key></Object></Remove>", "another document"],
    ["<Delete><Object><Key>a</Key></Object>", "cut off"],
  ])("refuses %s: %s", (text) => {
    expect(parseDeleteRequest(text)).toBeUndefined();
  });

  test("is answered with what was deleted and what was not", () => {
    const result = parseDeleteResult(
      `<DeleteResult><Deleted><Key>a</Key><DeleteMarker>true</DeleteMarker></Deleted>
       <Error><Key>b</Key><VersionId>v</VersionId><Code>AccessDenied</Code><Message>m</Message></Error>
       <Deleted><Key>c</Key><VersionId>v2</VersionId></Deleted></DeleteResult>`,
    );
    expect(result).toEqual({
      deleted: [
        { key: "a", versionId: undefined },
        { key: "c", versionId: "v2" },
      ],
      errors: [{ key: "b", versionId: "v", code: "AccessDenied" }],
    });
    expect(parseDeleteResult("<DeleteResult/>")).toEqual({ deleted: [], errors: [] });
    expect(parseDeleteResult("<Error><Code>x</Code></Error>")).toBeUndefined();
  });
});

describe("CompleteMultipartUpload", () => {
  test("names its parts with tags and checksums", () => {
    const request = parseCompleteRequest(
      `<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>"a"</ETag></Part>
       <Part><ETag>b</ETag><PartNumber> 10000 </PartNumber><ChecksumCRC32>AAAAAA==</ChecksumCRC32></Part>
       </CompleteMultipartUpload>`,
    );
    expect(request).toEqual({
      parts: [
        { partNumber: 1, etag: '"a"', checksums: {} },
        { partNumber: 10_000, etag: "b", checksums: { ChecksumCRC32: "AAAAAA==" } },
      ],
    });
  });

  test.each([
    "<CompleteMultipartUpload/>",
    "<CompleteMultipartUpload><Part><ETag>a</ETag></Part></CompleteMultipartUpload>",
    "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber></Part></CompleteMultipartUpload>",
    "<CompleteMultipartUpload><Part><PartNumber>0</PartNumber><ETag>a</ETag></Part></CompleteMultipartUpload>",
    "<CompleteMultipartUpload><Part><PartNumber>10001</PartNumber><ETag>a</ETag></Part></CompleteMultipartUpload>",
    "<CompleteMultipartUpload><Part><PartNumber>1e2</PartNumber><ETag>a</ETag></Part></CompleteMultipartUpload>",
    "<Complete/>",
  ])("refuses %s", (text) => {
    expect(parseCompleteRequest(text)).toBeUndefined();
  });
});

test("tags are read in order, an empty set is fine, and a tag needs key and value", () => {
  const tagging = (inner: string) => parseTagging(`<Tagging><TagSet>${inner}</TagSet></Tagging>`);
  expect(tagging("<Tag><Key>a</Key><Value>1</Value></Tag><Tag><Key>b</Key><Value/></Tag>")).toEqual(
    [
      { key: "a", value: "1" },
      { key: "b", value: "" },
    ],
  );
  expect(tagging("")).toEqual([]);
  expect(tagging("<Tag><Key>a</Key></Tag>")).toBeUndefined();
  expect(parseTagging("<TagSet/>")).toBeUndefined();
});

test("the root element is named without reading the rest", () => {
  expect(rootElementName("<a:B c='d'><unclosed")).toBe("B");
  expect(rootElementName("<B/>")).toBe("B");
  expect(rootElementName("x<B>")).toBeUndefined();
});
