// The tokens that may be traded, and the chain.

import { get } from './session.js';

let known = [];

/** What the server trades on: its `name`, whether it `isSimulated`, and `explorer`, the URL of a transaction or nothing. */
export const chain = { name: '', isSimulated: false, explorer: null };

export async function loadMarket() {
  const [{ tokens }, told] = await Promise.all([get('/api/tokens'), get('/api/chain')]);
  known = tokens;
  Object.assign(chain, told);
}

export const tokens = () => known;

export const bySymbol = (symbol) => known.find((token) => token.symbol === symbol);

/** Returns what people call a token of this mint. */
export const symbolOf = (mint) => known.find((token) => token.mint === mint)?.symbol ?? `${mint.slice(0, 4)}…`;

/**
 * Returns the URL of a transaction at the chain's explorer, or nothing. What explorers know stands before a colon: an id on a chain of
 * the EVM is a hash and a nonce.
 */
export function explorerUrl(id) {
  return chain.explorer?.replace('{tx}', encodeURIComponent(id.split(':')[0]));
}
