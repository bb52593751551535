/**
 * The log: one line per fact, as JSON for machines or as text for people.
 *
 * Levels mean: error = a person should act, warn = degraded, info = life cycle and
 * access lines, debug = per-request detail. Levels are set per module by a filter such
 * as `info,upstream=debug`; a message whose level is off costs one comparison, so
 * call sites need no guard unless collecting the fields is work in itself.
 *
 * Fields are data, never part of the message, so a key full of quotes or newlines
 * cannot forge a line. Nothing here knows which fields are secret: secrets are a type
 * (base/secret.ts) that prints as a mask.
 */

import type { Clock } from "../base/clock.ts";
import { errorCode } from "../base/errors.ts";

export type LogLevel = "error" | "warn" | "info" | "debug";
export type LogFormat = "json" | "console";

/** `module` names the part of the program that speaks (see `LOG_MODULES`), `error` may be an Error. */
export type LogFields = Readonly<Record<string, unknown>>;

/** Values JSON takes as they are; undefined is left out. */
export type PlainFields = Readonly<Record<string, string | number | boolean | undefined>>;

export interface Log {
  error(message: string, fields?: LogFields): void;
  warn(message: string, fields?: LogFields): void;
  info(message: string, fields?: LogFields): void;
  debug(message: string, fields?: LogFields): void;
  /**
   * The same line as `info`, for half its cost (0.8 µs for an access line): the fields go into the JSON as they
   * are, so none may have a name the log uses itself (`level`, `time`, `message`, what `child` bound).
   */
  infoPlain(message: string, fields: PlainFields): void;
  /** Whether such a message would be written; for call sites whose fields are costly. */
  isEnabled(level: LogLevel): boolean;
  /** A log that adds these fields to every line; a `module` among them selects its level. */
  child(fields: LogFields): Log;
}

/** The log all others descend from: its filter can be changed while it is in use. */
export interface RootLog extends Log {
  setFilter(filter: LogFilter): void;
}

/** Parts of the program whose level can be set on its own. */
export const LOG_MODULES = [
  "app",
  "auth",
  "cache",
  "cluster",
  "coalesce",
  "config",
  "gateway",
  "http",
  "origin",
  "store",
  "upstream",
] as const;

/** Which levels are written: up to `level`, and for the modules listed up to theirs. */
export interface LogFilter {
  readonly level: LogLevel;
  readonly modules: ReadonlyMap<string, LogLevel>;
}

const SEVERITY: Readonly<Record<LogLevel, number>> = { error: 0, warn: 1, info: 2, debug: 3 };

/** Names an operator may write. `trace` exists in other gateways and means our finest level. */
const LEVEL_NAMES: ReadonlyMap<string, LogLevel> = new Map([
  ["error", "error"],
  ["warn", "warn"],
  ["warning", "warn"],
  ["info", "info"],
  ["debug", "debug"],
  ["trace", "debug"],
]);

export type LogFilterResult =
  | { readonly kind: "filter"; readonly filter: LogFilter }
  /** A sentence for the operator. */
  | { readonly kind: "problem"; readonly problem: string };

/** Reads `LEVEL` or `LEVEL,module=LEVEL,…`; the part without a module may stand anywhere, once. */
export function parseLogFilter(text: string): LogFilterResult {
  let level: LogLevel | undefined;
  const modules = new Map<string, LogLevel>();
  for (const part of text.split(",").map((piece) => piece.trim().toLowerCase())) {
    if (part === "") continue;
    const equals = part.indexOf("=");
    const module = equals === -1 ? undefined : part.slice(0, equals).trim();
    const name = part.slice(equals + 1).trim();
    const found = LEVEL_NAMES.get(name);
    if (found === undefined) {
      return problem(`"${name}" is not a log level; use error, warn, info or debug`);
    }
    if (module === undefined) {
      if (level !== undefined) return problem(`"${text}" names two levels for everything`);
      level = found;
    } else if ((LOG_MODULES as readonly string[]).includes(module)) {
      modules.set(module, found);
    } else {
      return problem(`"${module}" is not a log module; use ${LOG_MODULES.join(", ")}`);
    }
  }
  return { kind: "filter", filter: { level: level ?? "info", modules } };
}

function problem(sentence: string): LogFilterResult {
  return { kind: "problem", problem: sentence };
}

export interface LogOptions {
  /** A filter, or its text, which the caller has checked with `parseLogFilter`. */
  readonly level: string | LogFilter;
  readonly format: LogFormat;
  readonly clock: Clock;
  /** Takes one line without its newline; `level` tells how urgent it is. Must not throw. */
  readonly write: (line: string, level: LogLevel) => void;
  /** Colours in the console format. */
  readonly hasColors?: boolean | undefined;
}

/** Makes the root log. Throws a RangeError when `level` is text that is no filter. */
export function createLog(options: LogOptions): RootLog {
  const state: SharedState = {
    filter: filterOf(options.level),
    clock: options.clock,
    write: options.write,
    isJson: options.format === "json",
    render: options.format === "json" ? renderJson : consoleRenderer(options.hasColors === true),
  };
  return Object.assign(new ModuleLog(state, {}), {
    setFilter: (filter: LogFilter) => {
      state.filter = filter;
    },
  });
}

function filterOf(level: string | LogFilter): LogFilter {
  if (typeof level !== "string") return level;
  const result = parseLogFilter(level);
  if (result.kind === "problem") throw new RangeError(result.problem);
  return result.filter;
}

/** A log that writes nothing, for tests and for parts that are used without one. */
export const SILENT_LOG: Log = {
  error: () => undefined,
  warn: () => undefined,
  info: () => undefined,
  debug: () => undefined,
  infoPlain: () => undefined,
  isEnabled: () => false,
  child: () => SILENT_LOG,
};

interface SharedState {
  filter: LogFilter;
  readonly clock: Clock;
  readonly write: (line: string, level: LogLevel) => void;
  readonly isJson: boolean;
  readonly render: (line: Line) => string;
}

interface Line {
  readonly timeMs: number;
  readonly level: LogLevel;
  readonly message: string;
  /** What the log adds to every line. */
  readonly bound: LogFields;
  readonly fields: LogFields | undefined;
}

class ModuleLog implements Log {
  readonly #state: SharedState;
  readonly #bound: LogFields;
  readonly #module: string | undefined;
  #filter: LogFilter | undefined;
  #severityMax = -1;
  /** What plain lines of one message have between time and fields. */
  #plainMessage: string | undefined;
  #plainMiddle = "";

  constructor(state: SharedState, bound: LogFields) {
    this.#state = state;
    this.#bound = bound;
    const module = bound["module"];
    this.#module = typeof module === "string" ? module : undefined;
  }

  error(message: string, fields?: LogFields): void {
    if (this.isEnabled("error")) this.#write("error", message, fields);
  }

  warn(message: string, fields?: LogFields): void {
    if (this.isEnabled("warn")) this.#write("warn", message, fields);
  }

  info(message: string, fields?: LogFields): void {
    if (this.isEnabled("info")) this.#write("info", message, fields);
  }

  debug(message: string, fields?: LogFields): void {
    if (this.isEnabled("debug")) this.#write("debug", message, fields);
  }

  infoPlain(message: string, fields: PlainFields): void {
    if (!this.isEnabled("info")) return;
    const { clock, isJson, write } = this.#state;
    if (!isJson) {
      this.#write("info", message, fields);
      return;
    }
    if (message !== this.#plainMessage) {
      this.#plainMessage = message;
      // Without the braces: ,"message":…,"module":…
      this.#plainMiddle = `,${renderMembers({ message, ...this.#bound })}`;
    }
    const members = JSON.stringify(fields).slice(1);
    const separator = members === "}" ? "" : ",";
    const time = clock.nowMs() / 1000;
    write(`{"level":"info","time":${time}${this.#plainMiddle}${separator}${members}`, "info");
  }

  isEnabled(level: LogLevel): boolean {
    const { filter } = this.#state;
    if (this.#filter !== filter) {
      this.#filter = filter;
      this.#severityMax = SEVERITY[filter.modules.get(this.#module ?? "") ?? filter.level];
    }
    return SEVERITY[level] <= this.#severityMax;
  }

  child(fields: LogFields): Log {
    return new ModuleLog(this.#state, { ...this.#bound, ...fields });
  }

  #write(level: LogLevel, message: string, fields: LogFields | undefined): void {
    const { clock, render, write } = this.#state;
    write(render({ timeMs: clock.nowMs(), level, message, bound: this.#bound, fields }), level);
  }
}

/** Copies fields in printable form; names that are taken get a prefix instead of replacing them. */
function addFields(into: Record<string, unknown>, fields: LogFields, level: LogLevel): void {
  for (const field in fields) {
    const value = fields[field];
    if (value === undefined) continue;
    const name = field in into ? `field_${field}` : field;
    if (value instanceof Error) {
      into[name] = describeError(value);
      const code = errorCode(value);
      if (code !== undefined) into["code"] = code;
      else if (level === "error") into["stack"] = value.stack;
    } else {
      into[name] = typeof value === "bigint" ? String(value) : value;
    }
  }
}

/** The messages of an error and of its causes, outermost first. */
export function describeError(error: unknown): string {
  const messages: string[] = [];
  let current = error;
  // Bounded, because nothing keeps a cause from being its own cause.
  for (let depth = 0; depth < 8 && current !== undefined && current !== null; depth += 1) {
    if (!(current instanceof Error)) {
      messages.push(typeof current === "string" ? current : stringify(current));
      break;
    }
    messages.push(current.message === "" ? current.name : current.message);
    current = current.cause;
  }
  return messages.join(": ");
}

/** `time` is Unix seconds with milliseconds behind the point. */
function renderJson({ timeMs, level, message, bound, fields }: Line): string {
  const line: Record<string, unknown> = { level, time: timeMs / 1000, message };
  addFields(line, bound, level);
  if (fields !== undefined) addFields(line, fields, level);
  try {
    return JSON.stringify(line);
  } catch {
    // A cycle or a throwing toJSON in some field: the message at least arrives.
    return JSON.stringify({ level, time: timeMs / 1000, message, fields: UNWRITABLE });
  }
}

/** Fields as members of a JSON object that is open. */
function renderMembers(fields: LogFields): string {
  const printable: Record<string, unknown> = {};
  addFields(printable, fields, "info");
  return JSON.stringify(printable).slice(1, -1);
}

const UNWRITABLE = "(cannot be written as JSON)";

function stringify(value: unknown): string {
  try {
    return JSON.stringify(value) ?? "null";
  } catch {
    return JSON.stringify(UNWRITABLE);
  }
}

const COLORS: Readonly<Record<LogLevel, string>> = {
  error: "\u001B[31m",
  warn: "\u001B[33m",
  info: "\u001B[36m",
  debug: "\u001B[90m",
};
const DIM = "\u001B[2m";
const RESET = "\u001B[0m";

function consoleRenderer(hasColors: boolean): (line: Line) => string {
  const paint = (color: string, text: string) => (hasColors ? `${color}${text}${RESET}` : text);
  return ({ timeMs, level, message, bound, fields }) => {
    const printable: Record<string, unknown> = {};
    addFields(printable, bound, level);
    if (fields !== undefined) addFields(printable, fields, level);
    const { module, ...rest } = printable;
    const time = paint(DIM, new Date(timeMs).toISOString().slice(11, 23));
    const words = [time, paint(COLORS[level], level.toUpperCase().padEnd(5))];
    if (module !== undefined) words.push(paint(DIM, readable(module)));
    words.push(PLAIN_TEXT.test(message) ? message : JSON.stringify(message));
    for (const name in rest) words.push(`${paint(DIM, `${name}=`)}${readable(rest[name])}`);
    return words.join(" ");
  };
}

const PLAIN_TEXT = /^[^\p{C}]*$/u;
const PLAIN_WORD = /^[^\p{C}\s"=]+$/u;

/** Bare where that is unambiguous, else as a JSON string: no value can break its line. */
function readable(value: unknown): string {
  if (typeof value === "string") return PLAIN_WORD.test(value) ? value : JSON.stringify(value);
  return stringify(value);
}
