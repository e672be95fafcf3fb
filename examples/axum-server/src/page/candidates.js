// All routes that were looked at, and the one that was chosen.

import { $, element, onWidth, setText } from './dom.js';
import { drawRoute } from './flow.js';
import { amount, brief, count, exact, fromBaseUnits, percent } from './format.js';
import { reason } from './reasons.js';
import { bySymbol, symbolOf, tokens } from './tokens.js';

/** Returns what tells a route from others of the same exchange. */
export function waysOf(legs) {
  const [first, last] = [legs[0].inputMint, legs.at(-1).outputMint];
  if (legs.length === 1) return `one pool, ${brief(legs[0].pool, 10)}`;
  const between = [...new Set(legs.flatMap(({ inputMint, outputMint }) => [inputMint, outputMint]))]
    .filter((mint) => mint !== first && mint !== last).map(symbolOf);
  const split = legs.filter(({ inputMint }) => inputMint === first).length;
  const parts = [];
  if (split > 1) parts.push(`split over ${split} pools`);
  if (between.length) parts.push(`via ${between.join(', ')}`);
  return parts.join(', ');
}

function candidateRow(candidate, best, isChosen, token) {
  if (!candidate.amountOut) {
    const why = reason(candidate.error.message, token).text.replace(/^[\w-]{8,}: /, '');
    return element('li', { className: 'candidate refused' },
      element('span', { className: 'candidate-name', textContent: candidate.dex }),
      element('span', { className: 'candidate-way', textContent: why }),
      element('span', { className: 'candidate-out', textContent: 'no quote' }));
  }
  const behind = best ? (1 - Number(candidate.amountOut) / Number(best)) * 10_000 : 0;
  const mark = isChosen ? element('span', { className: 'tag', textContent: 'best' })
    : element('span', { className: 'candidate-behind', textContent: behind < 0.5 ? 'same' : `−${percent(Math.round(behind))}` });
  return element('li', { className: 'candidate', data: { chosen: isChosen } },
    element('span', { className: 'candidate-name', textContent: candidate.dex }),
    element('span', { className: 'candidate-way', textContent: waysOf(candidate.legs) }),
    element('span', { className: 'candidate-out', textContent: amount(candidate.amountOut), title: `${exact(candidate.amountOut)} ${token.symbol}` }),
    mark);
}

const isSameRoute = (one, other) => JSON.stringify(one) === JSON.stringify(other);

/** A card that shows a route and its rivals, of the live quote or of an order. */
export class RouteView {
  constructor() {
    this.legs = [];
    onWidth($('route-drawing'), () => this.draw());
  }

  show(quote) {
    const token = bySymbol(quote.tokenOut);
    this.legs = quote.route?.legs ?? [];
    $('route-empty').hidden = this.legs.length > 0;
    $('route-drawing').hidden = this.legs.length === 0;
    setText($('route-empty'), 'No exchange takes this order as it is.');
    this.draw();
    // The chosen one comes first, then the others by what they pay, then those that pay nothing.
    const chosen = quote.quotes.find(({ legs }) => legs && isSameRoute(legs, quote.route?.legs));
    const ranked = [...quote.quotes].sort((one, other) => (other === chosen) - (one === chosen) || Number(other.amountOut ?? -1) - Number(one.amountOut ?? -1));
    $('candidates').replaceChildren(...ranked.map((candidate) => candidateRow(candidate, quote.amountOut, candidate === chosen, token)));
    $('candidates-title').hidden = ranked.length === 0;
    this.showLegs();
  }

  clear(text) {
    this.legs = [];
    $('route-empty').hidden = false;
    setText($('route-empty'), text);
    $('route-drawing').hidden = true;
    $('candidates').replaceChildren();
    $('candidates-title').hidden = true;
    $('legs').hidden = true;
  }

  draw() {
    const width = $('route-drawing').clientWidth;
    if (this.legs.length && width > 0) drawRoute($('route-drawing'), this.legs, width);
  }

  showLegs() {
    const decimals = new Map(tokens().map((token) => [token.mint, token.decimals]));
    const inUnits = (units, mint) => (decimals.has(mint) ? amount(fromBaseUnits(units, decimals.get(mint))) : units);
    const rows = this.legs.map((leg) => element('tr', {},
      element('td', {}, leg.dex, element('span', { className: 'pool', textContent: brief(leg.pool, 9), title: leg.pool })),
      element('td', { className: 'number', textContent: `${inUnits(leg.amountInBaseUnits, leg.inputMint)} ${symbolOf(leg.inputMint)}` }),
      element('td', { className: 'number', textContent: `${inUnits(leg.amountOutBaseUnits, leg.outputMint)} ${symbolOf(leg.outputMint)}` })));
    $('legs').hidden = rows.length === 0;
    setText($('legs-title'), rows.length === 1 ? 'The swap' : `All ${count(rows.length, 'swap')}`);
    $('legs-rows').replaceChildren(...rows);
  }
}
