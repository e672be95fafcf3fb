// Numbers, times and names as people read them. Amounts are decimal texts and stay texts: none passes through a float.

/** Stands between groups of three digits: it is no decimal mark in any language. */
const GROUP = '\u202f';

/** How many digits behind the point are shown, by the number of digits in front of it. */
const FRACTION_DIGITS = [6, 6, 4, 4, 3, 2];
/** How many digits are shown of a number below one, from its first that is not zero. */
const SIGNIFICANT_DIGITS = 6;

const grouped = (whole) => whole.replace(/\B(?=(\d{3})+$)/g, GROUP);

/** Returns an amount in full, with its digits in groups. */
export function exact(text) {
  const [whole, fraction] = String(text).split('.');
  return grouped(whole) + (fraction ? `.${fraction}` : '');
}

/** Returns an amount with as many digits as are of use. It is cut off, never rounded up. */
export function amount(text) {
  const [whole, fraction = ''] = String(text).split('.');
  const digits = whole === '0'
    ? fraction.match(/^0*/)[0].length + SIGNIFICANT_DIGITS
    : FRACTION_DIGITS[whole.length] ?? 2;
  const shown = fraction.slice(0, digits).replace(/0+$/, '');
  return grouped(whole) + (shown ? `.${shown}` : '');
}

/** Returns basis points as a percentage. */
export function percent(bps) {
  const digits = bps >= 1000 ? 1 : 2;
  return `${(bps / 100).toFixed(digits)}${'\u00a0'}%`;
}

/** Returns a number of a chart or a measure, of three digits or so. */
export function measure(value) {
  if (value === 0) return '0';
  const size = Math.abs(value);
  if (size >= 1000) return grouped(String(Math.round(value)));
  return String(Number(value.toPrecision(size >= 100 ? 3 : 2)));
}

/** Returns seconds as a duration. */
export function duration(seconds) {
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 60) return `${seconds.toFixed(seconds < 10 ? 1 : 0)} s`;
  if (seconds < 3600) return seconds % 60 < 1 ? `${Math.floor(seconds / 60)} min` : `${Math.floor(seconds / 60)} min ${Math.floor(seconds % 60)} s`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
  return `${Math.floor(seconds / 86_400)} d`;
}

/** Returns how long ago a time was, in one word. */
export function ago(time, now = Date.now()) {
  const seconds = Math.max(0, (now - Date.parse(time)) / 1000);
  if (seconds < 5) return 'now';
  if (seconds < 60) return `${Math.floor(seconds)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)} h`;
  return `${Math.floor(seconds / 86_400)} d`;
}

/** Returns the time of the day, to the millisecond. */
export function clock(time) {
  const date = new Date(time);
  return `${date.toLocaleTimeString([], { hour12: false })}.${String(date.getMilliseconds()).padStart(3, '0')}`;
}

/** Returns a long id by its beginning and its end. */
export function brief(id, ends = 6) {
  return id.length > 2 * ends + 3 ? `${id.slice(0, ends)}…${id.slice(-ends)}` : id;
}

/** Returns base units as an amount of a token. */
export function fromBaseUnits(units, decimals) {
  const digits = String(units).padStart(decimals + 1, '0');
  const [whole, fraction] = [digits.slice(0, digits.length - decimals), digits.slice(digits.length - decimals)];
  return fraction.replace(/0+$/, '') ? `${whole}.${fraction.replace(/0+$/, '')}` : whole;
}

/** Returns a number with its noun. */
export const count = (number, noun, nouns = `${noun}s`) => `${number} ${number === 1 ? noun : nouns}`;
