// Times as reports print them. Pure functions; local time is that of the process (TZ).

/** Nanoseconds in a second: the kernel stamps flows in nanoseconds since the epoch. */
export const SECOND = 1_000_000_000n;

const DAYS = ['Sun', 'Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat'] as const;
const MONTHS = [
  'Jan',
  'Feb',
  'Mar',
  'Apr',
  'May',
  'Jun',
  'Jul',
  'Aug',
  'Sep',
  'Oct',
  'Nov',
  'Dec',
] as const;

/** `Sun Nov  1 02:54:10 2026`, local time, as ctime(3) without its newline. Nanoseconds in. */
export function calendarTime(nanoseconds: bigint): string {
  const date = new Date(Number(nanoseconds / 1_000_000n));
  const day = `${date.getDate()}`.padStart(2);
  const clock = [date.getHours(), date.getMinutes(), date.getSeconds()].map(twoDigits).join(':');
  const month = MONTHS[date.getMonth()];
  return `${DAYS[date.getDay()]} ${month} ${day} ${clock} ${date.getFullYear()}`;
}

/** `2026-11-22T12:57:59.197528303Z`: ISO 8601 in UTC with all nine digits. Nanoseconds in. */
export function isoTime(nanoseconds: bigint): string {
  const seconds = new Date(Number(nanoseconds / SECOND) * 1000).toISOString().slice(0, 19);
  return `${seconds}.${`${nanoseconds % SECOND}`.padStart(9, '0')}Z`;
}

export function twoDigits(value: number): string {
  return `${value}`.padStart(2, '0');
}
