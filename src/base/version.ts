/**
 * What this build is. scripts/build.ts puts the three values in with
 * `bun build --define`; a run from source is `dev` with the rest unknown.
 */

declare const TAG_BUILD_VERSION: string | undefined;
declare const TAG_BUILD_TIME: string | undefined;
declare const TAG_BUILD_COMMIT: string | undefined;

export interface BuildInfo {
  /** Semantic version, or `dev`. */
  readonly version: string;
  /** UTC, RFC 3339, or `unknown`. */
  readonly buildTime: string;
  /** Git commit, or `unknown`. */
  readonly commit: string;
}

export const BUILD: BuildInfo = {
  version: typeof TAG_BUILD_VERSION === "string" ? TAG_BUILD_VERSION : "dev",
  buildTime: typeof TAG_BUILD_TIME === "string" ? TAG_BUILD_TIME : "unknown",
  commit: typeof TAG_BUILD_COMMIT === "string" ? TAG_BUILD_COMMIT : "unknown",
};

/** The four lines of `tag --version`, as the original prints them; scripts read them. */
export function versionBlock(build: BuildInfo): string {
  return [
    "TAG (Tigris Acceleration Gateway)",
    `  Version:    ${build.version}`,
    `  Build Time: ${build.buildTime}`,
    `  Git Commit: ${build.commit}`,
  ].join("\n");
}
