/**
 * The request target as the handlers get it (RFC 9112 §3.2): origin-form, byte for byte as it
 * came. The absolute form, which a server must accept, is reduced to the origin-form inside it.
 */

const ABSOLUTE_FORM = /^https?:\/\/([^/?#]*)(.*)$/is;

/**
 * The origin-form of `target`, or undefined when the request must be refused with 400: an
 * authority or asterisk form, or an absolute form that names another authority than `Host`
 * does. RFC 9112 §3.2.2 would let the target win; we have no use for a request whose two
 * addresses differ, and a proxy before us may have judged the other one.
 */
export function originForm(target: string, host: string | undefined): string | undefined {
  if (target.startsWith("/")) return target;
  const match = ABSOLUTE_FORM.exec(target);
  if (match === null) return undefined;
  const [, authority = "", rest = ""] = match;
  if (authority.toLowerCase() !== host?.toLowerCase()) return undefined;
  return rest.startsWith("/") ? rest : `/${rest}`;
}
