/**
 * A map bounded by weight that forgets what was used longest ago.
 *
 * Weights are whatever the owner counts (entries, bytes). The order is a linked
 * list beside the map rather than the insertion order of the map itself: moving a
 * node costs three pointer writes, while delete-and-set on a `Map` leaves holes
 * that it has to compact again and again on a hot path.
 */

interface Node<K, V> {
  readonly key: K;
  value: V;
  weight: number;
  newer: Node<K, V> | undefined;
  older: Node<K, V> | undefined;
}

export class LruMap<K, V> {
  readonly #nodes = new Map<K, Node<K, V>>();
  readonly #onEvict: ((key: K, value: V) => void) | undefined;
  #newest: Node<K, V> | undefined;
  #oldest: Node<K, V> | undefined;
  #limit: number;
  #weight = 0;

  /**
   * @param limit    the largest sum of weights kept; an item heavier than this is not kept at all
   * @param onEvict  told of every item pushed out by weight (not of `delete` or replacement)
   */
  constructor(limit: number, onEvict?: (key: K, value: V) => void) {
    this.#limit = limit;
    this.#onEvict = onEvict;
  }

  get size(): number {
    return this.#nodes.size;
  }

  /** The sum of the weights of all items. */
  get weight(): number {
    return this.#weight;
  }

  /** The value, now the most recently used; undefined when absent. */
  get(key: K): V | undefined {
    const node = this.#nodes.get(key);
    if (node === undefined) return undefined;
    if (node !== this.#newest) {
      this.#unlink(node);
      this.#pushNewest(node);
    }
    return node.value;
  }

  /** The value that would be pushed out next; undefined when there is none. */
  get oldest(): V | undefined {
    return this.#oldest?.value;
  }

  /** The value without counting as a use. */
  peek(key: K): V | undefined {
    return this.#nodes.get(key)?.value;
  }

  set(key: K, value: V, weight: number): void {
    const present = this.#nodes.get(key);
    if (present === undefined) {
      const node: Node<K, V> = { key, value, weight, newer: undefined, older: undefined };
      this.#nodes.set(key, node);
      this.#pushNewest(node);
      this.#weight += weight;
    } else {
      this.#weight += weight - present.weight;
      present.value = value;
      present.weight = weight;
      this.#unlink(present);
      this.#pushNewest(present);
    }
    this.#shrink();
  }

  delete(key: K): boolean {
    const node = this.#nodes.get(key);
    if (node === undefined) return false;
    this.#drop(node);
    return true;
  }

  clear(): void {
    this.#nodes.clear();
    this.#newest = undefined;
    this.#oldest = undefined;
    this.#weight = 0;
  }

  /** Changes the bound; evicts at once when it got smaller. */
  resize(limit: number): void {
    this.#limit = limit;
    this.#shrink();
  }

  /** Every item, in no promised order. */
  *entries(): IterableIterator<[K, V]> {
    for (const node of this.#nodes.values()) yield [node.key, node.value];
  }

  #shrink(): void {
    while (this.#weight > this.#limit && this.#oldest !== undefined) {
      const victim = this.#oldest;
      this.#drop(victim);
      this.#onEvict?.(victim.key, victim.value);
    }
  }

  #drop(node: Node<K, V>): void {
    this.#nodes.delete(node.key);
    this.#unlink(node);
    this.#weight -= node.weight;
  }

  #pushNewest(node: Node<K, V>): void {
    node.older = this.#newest;
    node.newer = undefined;
    if (this.#newest !== undefined) this.#newest.newer = node;
    this.#newest = node;
    this.#oldest ??= node;
  }

  #unlink(node: Node<K, V>): void {
    if (node.older === undefined) this.#oldest = node.newer;
    else node.older.newer = node.newer;
    if (node.newer === undefined) this.#newest = node.older;
    else node.newer.older = node.older;
    node.newer = undefined;
    node.older = undefined;
  }
}
