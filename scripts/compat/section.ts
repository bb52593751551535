/** A generated section in a page that is otherwise written by hand. */

/**
 * The page with `body` between the marks of section `name`.
 *
 * The marks are the HTML comments `<!-- NAME: begin -->` and `<!-- NAME: end -->`, which must be
 * there: a section that silently went nowhere would not be missed. Throws an Error when they are not.
 */
export function replaceSection(page: string, name: string, body: string): string {
  const [begin, end] = [`<!-- ${name}: begin -->`, `<!-- ${name}: end -->`];
  const from = page.indexOf(begin);
  const to = page.indexOf(end);
  if (from < 0 || to < from) throw new Error(`the page has no section "${name}"`);
  return `${page.slice(0, from + begin.length)}\n${body}\n${page.slice(to)}`;
}
