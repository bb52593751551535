/**
 * What JavaScriptCore compiled, and where it put it: the file it writes with `BUN_JSC_useJITDump=true` for perf
 * (jitdump, specified in tools/perf/Documentation of Linux).
 */

/** "JiTD" as a number in the order of bytes of the machine that wrote it; ours are all little-endian. */
const MAGIC = 0x4a695444;
/** `JIT_CODE_LOAD`, the only record with a name. */
const CODE_LOAD = 0;
/** Of a record: id, size, time. */
const RECORD_HEAD_BYTES = 16;
/** Of a `JIT_CODE_LOAD`: process, thread, address as linked, address, size, number; then the name and a zero. */
const ADDRESS_AT = 32;
const SIZE_AT = 40;
const NAME_AT = 56;

interface Code {
  readonly address: number;
  readonly sizeBytes: number;
  readonly name: string;
}

export class JitDump {
  /** By address; of what was put in the same place later, the last. */
  readonly #codes: readonly Code[];

  private constructor(codes: readonly Code[]) {
    this.#codes = codes;
  }

  /** Reads a file as far as it was written. Throws when it is none of that kind. */
  static read(file: Uint8Array): JitDump {
    const bytes = Buffer.from(file.buffer, file.byteOffset, file.byteLength);
    if (bytes.length < 12 || bytes.readUInt32LE(0) !== MAGIC) throw new Error("not a jitdump");
    const codes = new Map<number, Code>();
    for (let at = bytes.readUInt32LE(8); at + RECORD_HEAD_BYTES <= bytes.length;) {
      const recordBytes = bytes.readUInt32LE(at + 4);
      if (recordBytes < RECORD_HEAD_BYTES || at + recordBytes > bytes.length) break;
      if (bytes.readUInt32LE(at) === CODE_LOAD) {
        const address = Number(bytes.readBigUInt64LE(at + ADDRESS_AT));
        const sizeBytes = Number(bytes.readBigUInt64LE(at + SIZE_AT));
        const nameEnd = bytes.indexOf(0, at + NAME_AT);
        const name = nameOf(bytes.toString("latin1", at + NAME_AT, nameEnd));
        codes.set(address, { address, sizeBytes, name });
      }
      at += recordBytes;
    }
    return new JitDump([...codes.values()].toSorted((left, right) => left.address - right.address));
  }

  /** The function whose code lies there; undefined: none was written down. */
  nameAt(address: number): string | undefined {
    let low = 0;
    let high = this.#codes.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.#codes[middle]?.address ?? 0) <= address) low = middle + 1;
      else high = middle;
    }
    const code = this.#codes[low - 1];
    return code !== undefined && address < code.address + code.sizeBytes ? code.name : undefined;
  }
}

/** `JSC-FTL: name#hash` is the function, whatever compiled it; the engine's own pieces keep their text. */
function nameOf(text: string): string {
  const [, name] = /^JSC-(?:FTL|DFG|Baseline): (.+)#\w+$/.exec(text) ?? [];
  return name ?? text;
}
