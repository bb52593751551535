/** The key pairs of a benchmark: nothing here is secret, all of it lives for minutes on loopback. */

export const CLIENT = {
  accessKeyId: "tagdev",
  secretAccessKey: "tagdevsecret",
  region: "auto",
} as const;

/** With which the gateway vouches for its clients. */
export const GATEWAY = { accessKeyId: "tid_bench", secretAccessKey: "tsec_bench" } as const;
