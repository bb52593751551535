/**
 * `${env:NAME}` and `${env:NAME:-default}` in the strings of a configuration file, so
 * that a file under version control can leave its secrets to the environment.
 *
 * Expansion happens on parsed strings, never on the text of the file: what a variable
 * contains can therefore not become YAML. `$$` is a literal dollar; a lone `$` and any
 * other `${…}` stay as they are. What was expanded is not expanded again.
 */

export type Expanded =
  | { readonly kind: "text"; readonly text: string }
  | { readonly kind: "failed"; readonly message: string };

const REFERENCE = /\$\$|\$\{env:([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}/g;
// Line breaks and the like in a value would end up in headers and log lines.
// oxlint-disable-next-line no-control-regex
const CONTROL = /[\u0000-\u001f\u007f]/;

/** An empty variable counts as set when there is no default, and as unset when there is one, as in POSIX `:-`. */
export function expandEnvironment(
  text: string,
  env: Readonly<Record<string, string | undefined>>,
): Expanded {
  let failure: string | undefined;
  const expanded = text.replace(REFERENCE, (whole, name?: string, fallback?: string) => {
    if (name === undefined) return "$";
    const value = env[name];
    if (fallback !== undefined && (value === undefined || value === "")) return fallback;
    if (value === undefined) {
      failure ??= `\${env:${name}} is not set and has no default`;
      return whole;
    }
    if (CONTROL.test(value)) {
      failure ??= `\${env:${name}} contains control characters`;
      return whole;
    }
    return value;
  });
  return failure === undefined
    ? { kind: "text", text: expanded }
    : { kind: "failed", message: failure };
}
