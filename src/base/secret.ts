/**
 * `Secret`: a string that does not show itself.
 *
 * Printing, logging, inspecting and JSON all give the same mask; the one way to the
 * text is `reveal()`, so `grep -rn 'reveal()' src` lists every place that handles a
 * secret. The text lives in a private field, which no serializer reaches.
 */

const MASK = "[secret]";
/** Fixed on purpose: two nodes with the same secret must show the same fingerprint. */
const FINGERPRINT_KEY = "tag-secret-fingerprint-v1";

export class Secret {
  readonly #text: string;

  constructor(text: string) {
    this.#text = text;
  }

  /** The secret itself. Hand it to a function that needs it and keep no copy. */
  reveal(): string {
    return this.#text;
  }

  /**
   * `fp:` and 8 hex digits of a keyed hash: tells whether two nodes hold the same
   * secret. 32 bits identify one among a few and give nothing to search with.
   */
  fingerprint(): string {
    const digest = new Bun.CryptoHasher("sha256", FINGERPRINT_KEY).update(this.#text).digest("hex");
    return `fp:${digest.slice(0, 8)}`;
  }

  toString(): string {
    return MASK;
  }

  toJSON(): string {
    return MASK;
  }

  /** What `console.log` and error messages of Node and Bun show. */
  [Symbol.for("nodejs.util.inspect.custom")](): string {
    return MASK;
  }
}
