/**
 * The two ways S3 writes a point in time: HTTP dates (RFC 9110 §5.6.7) in header
 * fields and the compact ISO 8601 form in signatures (`20260724T000000Z`).
 *
 * All values are Unix milliseconds; both forms are exact to the second only.
 */

const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

// The preferred form, also with a numeric zone, which some signers write into Date.
const IMF_FIXDATE =
  /^(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), (\d{2}) ([A-Z][a-z]{2}) (\d{4}) (\d{2}):(\d{2}):(\d{2}) (GMT|UTC|[+-]\d{4})$/;
// The two obsolete forms every recipient still has to read.
const RFC_850 =
  /^(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day, (\d{2})-([A-Z][a-z]{2})-(\d{2}) (\d{2}):(\d{2}):(\d{2}) GMT$/;
const ASCTIME =
  /^(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun) ([A-Z][a-z]{2}) ([ \d]\d) (\d{2}):(\d{2}):(\d{2}) (\d{4})$/;

/**
 * Reads an HTTP date in any of its three forms; undefined when it is none or names a
 * day that does not exist. The weekday is not checked against the date.
 *
 * Two-digit years follow POSIX (69 and above are 19xx): RFC 9110 would have them
 * depend on today, which a pure function does not know, and nobody sends them anyway.
 */
export function parseHttpDate(value: string): number | undefined {
  const text = value.trim();
  const fixed = IMF_FIXDATE.exec(text);
  if (fixed !== null) {
    const [, day, month, year, hour, minute, second, zone = "GMT"] = fixed;
    const utcMs = timeOf(Number(year), month, day, hour, minute, second);
    return utcMs === undefined ? undefined : utcMs - zoneOffsetMs(zone);
  }
  const old = RFC_850.exec(text);
  if (old !== null) {
    const [, day, month, shortYear, hour, minute, second] = old;
    const year = Number(shortYear) + (Number(shortYear) >= 69 ? 1900 : 2000);
    return timeOf(year, month, day, hour, minute, second);
  }
  const asctime = ASCTIME.exec(text);
  if (asctime !== null) {
    const [, month, day, hour, minute, second, year] = asctime;
    return timeOf(Number(year), month, day, hour, minute, second);
  }
  return undefined;
}

function timeOf(
  year: number,
  month: string | undefined,
  day: string | undefined,
  hour: string | undefined,
  minute: string | undefined,
  second: string | undefined,
): number | undefined {
  return utcTime(
    year,
    MONTHS.indexOf(month ?? ""),
    Number(day),
    Number(hour),
    Number(minute),
    Number(second),
  );
}

/** Undefined instead of rolling over: 31 February is not 3 March. A leap second is let through. */
function utcTime(
  year: number,
  monthIndex: number,
  day: number,
  hour: number,
  minute: number,
  second: number,
): number | undefined {
  if (monthIndex < 0 || monthIndex > 11 || hour > 23 || minute > 59 || second > 60)
    return undefined;
  const date = new Date(0);
  date.setUTCFullYear(year, monthIndex, day); // unlike Date.UTC, takes years below 100 literally
  if (date.getUTCMonth() !== monthIndex || date.getUTCDate() !== day) return undefined;
  return date.setUTCHours(hour, minute, second);
}

function zoneOffsetMs(zone: string): number {
  const match = /^([+-])(\d{2})(\d{2})$/.exec(zone);
  if (match === null) return 0;
  const minutes = Number(match[2]) * 60 + Number(match[3]);
  return (match[1] === "-" ? -minutes : minutes) * 60_000;
}

/** `Sun, 06 Nov 1994 08:49:37 GMT`; fractions of a second are dropped. */
export function formatHttpDate(timeMs: number): string {
  return new Date(timeMs).toUTCString();
}

const AMZ_DATE = /^(\d{4})(\d{2})(\d{2})T(\d{2})(\d{2})(\d{2})Z$/;

/** Reads `X-Amz-Date`; undefined when it is not of the form `YYYYMMDDTHHMMSSZ`. */
export function parseAmzDate(value: string): number | undefined {
  const match = AMZ_DATE.exec(value);
  if (match === null) return undefined;
  const [, year, month, day, hour, minute, second] = match;
  return utcTime(
    Number(year),
    Number(month) - 1,
    Number(day),
    Number(hour),
    Number(minute),
    Number(second),
  );
}

/** `20260724T000000Z`; its first eight characters are the date of a credential scope. */
export function formatAmzDate(timeMs: number): string {
  return new Date(timeMs).toISOString().replace(/[-:]|\.\d{3}/g, "");
}
