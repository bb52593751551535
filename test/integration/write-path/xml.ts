/** Just enough XML to read an error document without the code under test. */

/** Element name to text, of an error document's children. */
export type XmlElement = Readonly<Record<string, string>>;

export function parseErrorXml(text: string): XmlElement {
  const inner = /<Error>(.*)<\/Error>$/s.exec(text)?.[1];
  if (inner === undefined) throw new Error(`not an error document: ${text}`);
  const elements: Record<string, string> = {};
  for (const [, name = "", content = ""] of inner.matchAll(/<(\w+)>([^<]*)<\/\1>/g)) {
    elements[name] = content;
  }
  return elements;
}
