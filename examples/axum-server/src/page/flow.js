// Draws a route: from the token that is sold to the token that is bought, each pool a band as wide as its share.

import { drawn } from './dom.js';
import { percent } from './format.js';
import { symbolOf } from './tokens.js';

const NODE_WIDTH = 10;
/** The least height that a band takes, so that its name fits. */
const SLOT_MIN = 26;
/** The height that the whole order takes. */
const WHOLE = 84;
const BAND_MIN = 2.5;
/** Beyond so many swaps, those between the same two tokens are drawn as one, with their share for a name. */
const SINGLE_MAX = 6;
/** Below this share of the order, a band of many has no name. */
const NAMED_SHARE_MIN = 0.03;
/** The room for names above and below. */
const PADDING = 16;
/** The width that a name needs. */
const LETTER = 6.4;

/** Returns the swaps that are drawn: their tokens, their share of the order, and what is written on them. */
function bands(legs) {
  const sold = new Map();
  for (const leg of legs) sold.set(leg.inputMint, (sold.get(leg.inputMint) ?? 0) + Number(leg.amountInBaseUnits));
  const shareOf = new Map();
  const first = legs[0].inputMint;
  shareOf.set(first, 1);
  const singles = [];
  // Legs stand in the order of execution, so a token's share is known before it is sold.
  for (const leg of legs) {
    const share = (shareOf.get(leg.inputMint) ?? 0) * (Number(leg.amountInBaseUnits) / sold.get(leg.inputMint));
    shareOf.set(leg.outputMint, (shareOf.get(leg.outputMint) ?? 0) + share);
    singles.push({ from: leg.inputMint, to: leg.outputMint, share, exchanges: [leg.dex], label: `${leg.dex} ${Math.round(share * 100)} %` });
  }
  if (singles.length <= SINGLE_MAX) return singles;
  const pairs = new Map();
  for (const band of singles) {
    const key = `${band.from}>${band.to}`;
    const known = pairs.get(key);
    if (!known) pairs.set(key, { ...band });
    else {
      known.share += band.share;
      known.exchanges = [...new Set([...known.exchanges, ...band.exchanges])];
    }
  }
  return [...pairs.values()].map((band) => ({ ...band, label: band.share < NAMED_SHARE_MIN ? '' : `${Math.round(band.share * 100)} %` }));
}

/** Returns in which column each token stands: behind all that it is bought with. */
function columnsOf(all) {
  const column = new Map([[all[0].from, 0]]);
  for (let pass = 0; pass < all.length; pass += 1) {
    for (const { from, to } of all) {
      if (column.has(from)) column.set(to, Math.max(column.get(to) ?? 0, column.get(from) + 1));
    }
  }
  return column;
}

/**
 * Cuts bands that skip columns into pieces, so that they have places of their own there. Returns the pieces and the nodes, `{id, column,
 * share}`; a node that is a mere place on the way has no `mint`.
 */
function graph(all) {
  const column = columnsOf(all);
  const nodes = new Map([...column].map(([mint, at]) => [mint, { id: mint, mint, column: at }]));
  const pieces = [];
  all.forEach((band, index) => {
    let from = band.from;
    for (let at = column.get(band.from) + 1; at < column.get(band.to); at += 1) {
      const id = `${index}-${at}`;
      nodes.set(id, { id, column: at });
      pieces.push({ ...band, from, to: id, isNamed: from === band.from });
      from = id;
    }
    pieces.push({ ...band, from, to: band.to, isNamed: from === band.from });
  });
  return { nodes: [...nodes.values()], pieces };
}

const heightOf = (share) => Math.max(SLOT_MIN, share * WHOLE);

/** Gives nodes and pieces their places. Returns the height of all. */
function place({ nodes, pieces }, width, margin) {
  const last = Math.max(...nodes.map(({ column }) => column));
  const byId = new Map(nodes.map((node) => [node.id, node]));
  for (const node of nodes) {
    node.in = pieces.filter(({ to }) => to === node.id);
    node.out = pieces.filter(({ from }) => from === node.id);
    const sum = (side) => side.reduce((height, { share }) => height + heightOf(share), 0);
    node.height = Math.max(sum(node.in), sum(node.out));
    node.x = margin + (node.column / last) * (width - 2 * margin - NODE_WIDTH);
  }
  const columns = Array.from({ length: last + 1 }, (_, at) => nodes.filter(({ column }) => column === at));
  const gap = 20;
  const tall = (column) => column.reduce((height, node) => height + node.height, gap * (column.length - 1));
  const height = Math.max(...columns.map(tall));
  for (const column of columns) {
    // A node stands at the height of what flows into it.
    const centre = (node) => node.in.reduce((sum, { from, share }) => sum + byId.get(from).y * share, 0) / (node.in.reduce((sum, { share }) => sum + share, 0) || 1);
    column.sort((one, other) => centre(one) - centre(other) || (one.mint ? 1 : -1));
    let top = (height - tall(column)) / 2;
    for (const node of column) {
      node.top = top;
      node.y = top + node.height / 2;
      top += node.height + gap;
    }
  }
  for (const node of nodes) {
    spread(node, node.out, 'fromY', ({ to }) => byId.get(to).y);
    spread(node, node.in, 'toY', ({ from }) => byId.get(from).y);
  }
  return { height, byId };
}

/** Gives the pieces at one side of a node their heights there. */
function spread(node, side, end, order) {
  side.sort((one, other) => order(one) - order(other));
  let at = node.y - side.reduce((height, { share }) => height + heightOf(share), 0) / 2;
  for (const piece of side) {
    piece[end] = at + heightOf(piece.share) / 2;
    at += heightOf(piece.share);
  }
}

/** Draws a route of these legs into a box of a width. */
export function drawRoute(box, legs, width) {
  const margin = 46;
  const all = bands(legs);
  const made = graph(all);
  const { height, byId } = place(made, width, margin);
  const drawing = drawn('svg', { viewBox: `0 ${-PADDING} ${width} ${height + 2 * PADDING}`, width, height: height + 2 * PADDING, role: 'img', 'aria-label': inWords(all) });
  const names = [];
  for (const piece of made.pieces) {
    const [from, to] = [byId.get(piece.from), byId.get(piece.to)];
    const [x1, x2] = [from.mint ? from.x + NODE_WIDTH : from.x, to.x];
    const middle = (x1 + x2) / 2;
    const band = Math.max(BAND_MIN, piece.share * WHOLE * 0.82);
    drawing.append(drawn('path', {
      class: 'band', d: `M${x1} ${piece.fromY}C${middle} ${piece.fromY} ${middle} ${piece.toY} ${x2} ${piece.toY}`, 'stroke-width': band,
    }));
    if (piece.isNamed) names.push(name(piece, (x1 + x2) / 2, (piece.fromY + piece.toY) / 2, x2 - x1));
  }
  for (const node of made.nodes.filter(({ mint }) => mint)) drawing.append(...drawNode(node, width));
  drawing.append(...names.filter(Boolean));
  box.replaceChildren(drawing);
}

function name({ label, share }, x, y, room) {
  const text = [label, `${Math.round(share * 100)} %`].find((candidate) => candidate.length * LETTER + 12 < room);
  return label && text && drawn('text', { class: 'band-name', x, y: y + 4, 'text-anchor': 'middle' }, text);
}

function drawNode({ x, y, top, height, mint, column, in: incoming }, width) {
  const isFirst = column === 0;
  const isLast = x + NODE_WIDTH + 60 > width && incoming.length > 0;
  const [anchor, at] = isFirst ? ['end', x - 7] : isLast ? ['start', x + NODE_WIDTH + 7] : ['middle', x + NODE_WIDTH / 2];
  const bar = drawn('rect', { class: 'node', x, y: top + 2, width: NODE_WIDTH, height: height - 4, rx: 3 });
  const label = drawn('text', { class: 'node-name', x: at, y: anchor === 'middle' ? top - 3 : y + 4, 'text-anchor': anchor }, symbolOf(mint));
  return [bar, label];
}

function inWords(all) {
  const swaps = all.map(({ from, to, share, exchanges }) => `${percent(Math.round(share * 10_000))} ${symbolOf(from)} to ${symbolOf(to)} on ${exchanges.join(' and ')}`);
  return `The route: ${swaps.join('; ')}.`;
}
