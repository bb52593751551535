/**
 * S3 errors as values: what an operation answers instead of its result.
 *
 * The table holds every code we may answer with, here and in the dev origin, with
 * the status and message of the S3 API reference ("Error responses"); codes that
 * only ever come from upstream are relayed as bytes and need no row. How an error
 * looks on the wire is error-xml.ts.
 */

import type { RawHeaders } from "../http/fields.ts";

interface ErrorRow {
  readonly status: number;
  readonly message: string;
}

/** Every code, with its HTTP status and the message used unless the caller knows better. */
export const S3_ERRORS = {
  AccessDenied: { status: 403, message: "Access Denied" },
  AccessForbidden: { status: 403, message: "CORSResponse: This CORS request is not allowed." },
  AuthorizationHeaderMalformed: { status: 400, message: "The authorization header is malformed" },
  AuthorizationQueryParametersError: {
    status: 400,
    message: "The query parameters that authorize the request are not valid",
  },
  BadContentLength: { status: 400, message: "The Content-Length you specified is invalid" },
  BadDigest: {
    status: 400,
    message: "The Content-MD5 or checksum value you specified did not match what we received",
  },
  BadGateway: { status: 502, message: "The object store could not be reached" },
  BucketAlreadyExists: {
    status: 409,
    message: "The requested bucket name is not available. Please select a different name.",
  },
  BucketAlreadyOwnedByYou: {
    status: 409,
    message: "The bucket you tried to create already exists, and you own it.",
  },
  BucketNotEmpty: { status: 409, message: "The bucket you tried to delete is not empty" },
  ConditionalRequestConflict: {
    status: 409,
    message: "A conflicting operation occurred during this request. Please try again.",
  },
  EntityTooLarge: {
    status: 400,
    message: "Your proposed upload exceeds the maximum allowed object size",
  },
  EntityTooSmall: {
    status: 400,
    message: "Your proposed upload is smaller than the minimum allowed object size",
  },
  ExpiredToken: { status: 400, message: "The provided token has expired." },
  GatewayTimeout: { status: 504, message: "The object store did not answer in time" },
  IllegalLocationConstraintException: {
    status: 400,
    message: "The specified location constraint is not valid for this region",
  },
  IncompleteBody: {
    status: 400,
    message: "You did not provide the number of bytes specified by the Content-Length HTTP header",
  },
  InternalError: {
    status: 500,
    message: "We encountered an internal error. Please try again.",
  },
  InvalidAccessKeyId: {
    status: 403,
    message: "The AWS access key ID you provided does not exist in our records",
  },
  InvalidArgument: { status: 400, message: "Invalid argument" },
  InvalidBucketName: { status: 400, message: "The specified bucket is not valid" },
  InvalidBucketState: {
    status: 409,
    message: "The request is not valid for the current state of the bucket",
  },
  InvalidDigest: { status: 400, message: "The Content-MD5 you specified is not valid" },
  InvalidLocationConstraint: {
    status: 400,
    message: "The specified location constraint is not valid",
  },
  InvalidObjectName: { status: 400, message: "The specified key is not valid" },
  InvalidPart: {
    status: 400,
    message:
      "One or more of the specified parts could not be found. The part might not have been uploaded, or the specified entity tag might not have matched the part's entity tag.",
  },
  InvalidPartNumber: { status: 416, message: "The requested partnumber is not satisfiable" },
  InvalidPartOrder: {
    status: 400,
    message:
      "The list of parts was not in ascending order. The parts list must be specified in order by part number.",
  },
  InvalidRange: { status: 416, message: "The requested range is not satisfiable" },
  InvalidRequest: { status: 400, message: "Invalid request" },
  InvalidStorageClass: {
    status: 400,
    message: "The storage class you specified is not valid",
  },
  InvalidTag: { status: 400, message: "The tag provided was not a valid tag" },
  InvalidToken: { status: 400, message: "The provided token is malformed or otherwise invalid" },
  InvalidURI: { status: 400, message: "Couldn't parse the specified URI." },
  KeyTooLongError: { status: 400, message: "Your key is too long" },
  MalformedACLError: {
    status: 400,
    message: "The XML you provided was not well-formed or did not validate against our schema",
  },
  MalformedPOSTRequest: {
    status: 400,
    message: "The body of your POST request is not well-formed multipart/form-data.",
  },
  MalformedPolicy: { status: 400, message: "Policy has invalid resource" },
  MalformedTrailerError: {
    status: 400,
    message: "The request contained trailing data that was not well-formed",
  },
  MalformedXML: {
    status: 400,
    message: "The XML you provided was not well-formed or did not validate against our schema",
  },
  MaxMessageLengthExceeded: { status: 400, message: "Your request was too big" },
  MetadataTooLarge: {
    status: 400,
    message: "Your metadata headers exceed the maximum allowed metadata size",
  },
  MethodNotAllowed: {
    status: 405,
    message: "The specified method is not allowed against this resource",
  },
  MissingContentLength: {
    status: 411,
    message: "You must provide the Content-Length HTTP header",
  },
  MissingRequestBodyError: { status: 400, message: "Request body is empty." },
  MissingSecurityHeader: { status: 400, message: "Your request was missing a required header" },
  NoSuchBucket: { status: 404, message: "The specified bucket does not exist" },
  NoSuchBucketPolicy: { status: 404, message: "The bucket policy does not exist" },
  NoSuchCORSConfiguration: { status: 404, message: "The CORS configuration does not exist" },
  NoSuchKey: { status: 404, message: "The specified key does not exist." },
  NoSuchLifecycleConfiguration: {
    status: 404,
    message: "The lifecycle configuration does not exist",
  },
  NoSuchTagSet: { status: 404, message: "The TagSet does not exist" },
  NoSuchUpload: {
    status: 404,
    message:
      "The specified upload does not exist. The upload ID may be invalid, or the upload may have been aborted or completed.",
  },
  NoSuchVersion: { status: 404, message: "The specified version does not exist." },
  NotFound: { status: 404, message: "The requested resource does not exist" },
  NotImplemented: {
    status: 501,
    message: "A header you provided implies functionality that is not implemented",
  },
  ObjectLockConfigurationNotFoundError: {
    status: 404,
    message: "Object Lock configuration does not exist for this bucket",
  },
  OperationAborted: {
    status: 409,
    message:
      "A conflicting conditional operation is currently in progress against this resource. Please try again.",
  },
  PreconditionFailed: {
    status: 412,
    message: "At least one of the pre-conditions you specified did not hold",
  },
  RequestHeaderSectionTooLarge: {
    status: 400,
    message: "Your request header section exceeds the maximum allowed request header size.",
  },
  RequestTimeTooSkewed: {
    status: 403,
    message: "The difference between the request time and the current time is too large.",
  },
  RequestTimeout: {
    status: 400,
    message:
      "Your socket connection to the server was not read from or written to within the timeout period.",
  },
  ServerSideEncryptionConfigurationNotFoundError: {
    status: 404,
    message: "The server side encryption configuration was not found",
  },
  ServiceUnavailable: { status: 503, message: "Service is unable to handle request" },
  SignatureDoesNotMatch: {
    status: 403,
    message: "The request signature we calculated does not match the signature you provided",
  },
  SlowDown: { status: 503, message: "Please reduce your request rate" },
  TooManyBuckets: {
    status: 400,
    message: "You have attempted to create more buckets than are allowed per account",
  },
  UnexpectedContent: { status: 400, message: "This request does not support content" },
  UserKeyMustBeSpecified: {
    status: 400,
    message: "The bucket POST must contain the specified field name.",
  },
  XAmzContentChecksumMismatch: {
    status: 400,
    message: "The provided 'x-amz-checksum' header does not match what was computed.",
  },
  XAmzContentSHA256Mismatch: {
    status: 400,
    message: "The provided 'x-amz-content-sha256' header does not match what was computed.",
  },
} as const satisfies Record<string, ErrorRow>;

export type S3ErrorCode = keyof typeof S3_ERRORS;

export interface S3Error {
  readonly kind: "s3-error";
  readonly code: S3ErrorCode;
  readonly status: number;
  readonly message: string;
  /** Headers the answer needs besides the usual ones, such as `Content-Range` of a 416. */
  readonly headers: RawHeaders;
  /** Further elements of the error body, in order, such as `BucketName`. */
  readonly details: Readonly<Record<string, string>>;
}

export interface S3ErrorOptions {
  /** Replaces the message of the table; shown to the client, so no internals. */
  readonly message?: string | undefined;
  readonly headers?: RawHeaders | undefined;
  readonly details?: Readonly<Record<string, string>> | undefined;
}

const NO_DETAILS: Readonly<Record<string, string>> = {};

/** Makes the error of a code. */
export function s3Error(code: S3ErrorCode, options: S3ErrorOptions = {}): S3Error {
  const row: ErrorRow = S3_ERRORS[code];
  return {
    kind: "s3-error",
    code,
    status: row.status,
    message: options.message ?? row.message,
    headers: options.headers ?? [],
    details: options.details ?? NO_DETAILS,
  };
}

/** Tells an error from the result it stands in for. */
export function isS3Error(value: unknown): value is S3Error {
  return (
    typeof value === "object" && value !== null && "kind" in value && value.kind === "s3-error"
  );
}
