/**
 * Which tests of ceph/s3-tests are run, and under which heading they are counted.
 *
 * Everything about S3 itself is run, whether or not AWS, Ceph or the server at hand passes it:
 * what counts is that the gateway makes no difference.
 */

export const TEST_FOLDER = "s3tests/functional";

/** The suite's files that are about the S3 protocol. */
export const TEST_FILES = ["test_headers.py", "test_s3.py"].map((name) => `${TEST_FOLDER}/${name}`);

interface Exclusion {
  /** A file below s3tests/functional, or a pytest mark. */
  readonly what: string;
  readonly because: string;
}

export const EXCLUDED_FILES: readonly Exclusion[] = [
  { what: "test_iam.py", because: "the IAM API, another service than S3" },
  { what: "test_sts.py", because: "the STS API, another service than S3" },
  { what: "test_sns.py", because: "the SNS API, another service than S3" },
  { what: "test_s3select.py", because: "Ceph's dialect of SelectObjectContent" },
];

export const EXCLUDED_MARKS: readonly Exclusion[] = [
  { what: "lifecycle_expiration", because: "wait for days, which only a Ceph option shortens" },
  { what: "lifecycle_transition", because: "the same, between storage classes of Ceph" },
  { what: "cloud_transition", because: "need a second store behind the first" },
  { what: "cloud_restore", because: "need a second store behind the first" },
  { what: "bucket_logging", because: "Ceph's log delivery, minutes of waiting each" },
  { what: "appendobject", because: "an operation of Ceph's own" },
  { what: "auth_aws2", because: "SigV2, which AWS has retired and signing mode refuses" },
];

/** The `-m` expression that leaves the excluded marks out. */
export const MARK_EXPRESSION = EXCLUDED_MARKS.map(({ what }) => `not ${what}`).join(" and ");

const TOPICS: readonly (readonly [topic: string, name: RegExp])[] = [
  ["Request headers", /^test_headers\.py/],
  ["Form upload (POST)", /::test_post_object/],
  ["Encryption", /sse|encrypt|kms/],
  ["Object lock", /object_lock|legal_hold|retention/],
  ["Versioning", /version/],
  ["Multipart uploads", /multipart/],
  ["Copies", /copy/],
  ["Checksums", /checksum|crc|sha256/],
  ["Tagging", /tag/],
  ["CORS", /cors/],
  ["Lifecycle", /lifecycle/],
  ["Policies, public access, ownership", /polic|block_public|public_block|ownership|_oac_/],
  ["ACLs and anonymous access", /acl|access_bucket|grant|anon|raw_(get|put)|presigned/],
  ["Conditions", /if_?(un)?(none)?_?(match|modified|unmodified|nonematch)|conditional/],
  ["Ranges", /range/],
  ["Listings", /bucket_list|listv2|basic_key_count/],
  ["Atomicity", /atomic/],
  ["Bulk delete", /multi_object_delete|multi_objectv2_delete|delete_objects/],
  ["Buckets", /::test_(bucket|buckets|list_buckets|create_bucket|head_bucket|get_bucket)/],
  ["Objects", /./],
];

/** The heading a test is counted under, by its name. */
export function topicOf(name: string): string {
  return TOPICS.find(([, pattern]) => pattern.test(name))?.[0] ?? "Objects";
}

/** Every topic in the order of the tables. */
export const TOPIC_NAMES: readonly string[] = TOPICS.map(([topic]) => topic);
