/** Names an object: a bucket and a decoded key (any characters, 1 to 1024 bytes of UTF-8). */
export interface ObjectId {
  readonly bucket: string;
  readonly key: string;
}

/**
 * One string per object id, for maps. A bucket name cannot contain "/", so the
 * first slash always ends it and two ids never share a string.
 */
export function objectIdString(id: ObjectId): string {
  return `${id.bucket}/${id.key}`;
}
