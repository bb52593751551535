/** Limits of S3 that several operations share ("Amazon S3 multipart upload limits"). */

/** Part numbers go from 1 to this. */
export const PARTS_MAX = 10_000;

/** Every part but the last is at least this large. */
export const PART_BYTES_MIN = 5 * 2 ** 20;

/** Most results on one page of any listing. */
export const PAGE_MAX = 1000;
