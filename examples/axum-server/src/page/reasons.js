// What the server says in one long sentence, as people can read it: once, in parts, and in units of tokens.

import { exact, fromBaseUnits, percent } from './format.js';

/** What the codes of failures mean for the owner of the order. */
const HEADLINES = {
  cancelled: 'Cancelled. Nothing was traded.',
  expired: 'The deadline passed. Nothing was traded.',
  slippage: 'The price moved below your minimum.',
  'retries-exhausted': 'Every attempt failed. Nothing was traded.',
  'price-impact': 'The trade would lose too much to the price.',
  'price-impact-too-high': 'The trade would lose too much to the price.',
  'amount-too-small': 'The amount is too small to be traded.',
  'pair-not-traded': 'No exchange trades these two tokens.',
  rejected: 'The exchange rejected the transaction.',
};

export const headline = (code) => HEADLINES[code];

/** Returns a sentence with basis points as percentages, and base units as an amount of the token. */
function inUnits(text, token) {
  const shown = (units) => exact(fromBaseUnits(units, token.decimals));
  return text
    .replace(/\b(\d+) basis points/g, (_, bps) => percent(Number(bps)))
    .replace(/more than (\d+)(?![\d.])/g, (_, bps) => `more than ${percent(Number(bps))}`)
    .replace(/output of (\d+) is below the minimum of (\d+) base units/, (whole, output, minimum) => (token
      ? `output of ${shown(output)} ${token.symbol} is below the minimum of ${shown(minimum)} ${token.symbol}` : whole));
}

/** Matches "Headline (Exchange: reason; Exchange: reason)". */
const LISTED = /^(.*?) \(((?:[^:;()]+: .+?)(?:; [^:;()]+: .+?)*)\)\.?$/s;

/**
 * Reads a reason: `{text, parts}`, where each part is `{who, what, times}`. Reasons that differ in numbers only are one part, which has the
 * first of them.
 */
export function reason(message, token) {
  const listed = LISTED.exec(message);
  if (!listed) return { text: inUnits(message, token), parts: [] };
  const parts = new Map();
  for (const item of listed[2].split('; ')) {
    const colon = item.indexOf(': ');
    const [who, what] = [item.slice(0, colon), plainly(item.slice(colon + 2))];
    const key = `${who}|${what.replace(/\d+/g, '#')}`;
    const known = parts.get(key);
    if (known) known.times += 1;
    else parts.set(key, { who, what: inUnits(what, token), times: 1 });
  }
  return { text: inUnits(listed[1], token), parts: [...parts.values()] };
}

/** Leaves out the id of the pool that a reason begins with. */
const plainly = (what) => {
  const said = what.replace(/^[\w-]{8,}: /, '');
  return said[0].toUpperCase() + said.slice(1);
};

/** Returns what two events have in common that fail for the same reason. */
export const sameness = (message) => message.replace(/^Attempt \d+\/\d+ failed: /, '').replace(/\d+/g, '#');
