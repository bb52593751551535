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
  const isLeap = year % 4 === 0 && (year % 100 !== 0 || year % 400 === 0);
  const dayMax = monthIndex === 1 && !isLeap ? 28 : (DAYS_OF_MONTH[monthIndex] ?? 0);
  if (day < 1 || day > dayMax) return undefined;
  return 1000 * (second + 60 * (minute + 60 * (hour + 24 * daysSinceEpoch(year, monthIndex, day))));
}

const DAYS_OF_MONTH = [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];

/**
 * Days from 1 January 1970 in the Gregorian calendar. By arithmetic, because every signature carries a
 * date and a `Date` takes four times as long. A year begins in March here, so that its leap day comes last.
 */
function daysSinceEpoch(year: number, monthIndex: number, day: number): number {
  const shiftedYear = monthIndex < 2 ? year - 1 : year;
  const shiftedMonth = (monthIndex + 10) % 12;
  const leapDays =
    Math.floor(shiftedYear / 4) - Math.floor(shiftedYear / 100) + Math.floor(shiftedYear / 400);
  // Months of 31 and 30 days alternate such that this line hits their beginnings.
  const dayOfYear = Math.floor((153 * shiftedMonth + 2) / 5) + day - 1;
  return 365 * shiftedYear + leapDays + dayOfYear - DAYS_FROM_MARCH_0_TO_EPOCH;
}

const DAYS_FROM_MARCH_0_TO_EPOCH = 719_468;

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

const AMZ_DATE = /^\d{8}T\d{6}Z$/;

/** Reads `X-Amz-Date`; undefined when it is not of the form `YYYYMMDDTHHMMSSZ`. */
export function parseAmzDate(value: string): number | undefined {
  if (!AMZ_DATE.test(value)) return undefined;
  return utcTime(
    100 * twoDigits(value, 0) + twoDigits(value, 2),
    twoDigits(value, 4) - 1,
    twoDigits(value, 6),
    twoDigits(value, 9),
    twoDigits(value, 11),
    twoDigits(value, 13),
  );
}

function twoDigits(text: string, at: number): number {
  return 10 * text.charCodeAt(at) + text.charCodeAt(at + 1) - 11 * "0".charCodeAt(0);
}

/** `20260724T000000Z`; its first eight characters are the date of a credential scope. */
export function formatAmzDate(timeMs: number): string {
  return new Date(timeMs).toISOString().replace(/[-:]|\.\d{3}/g, "");
}
