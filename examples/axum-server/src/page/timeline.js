// What happened to an order, event by event, in attempts.

import { $, element } from './dom.js';
import { clock, duration } from './format.js';
import { headline, reason, sameness } from './reasons.js';

const BAD = new Set(['failed', 'execution-failed']);

export class Timeline {
  constructor() {
    this.list = $('timeline');
  }

  /** Begins with another order. `token` is the one that it buys. */
  clear() {
    this.list.replaceChildren();
    this.attempt = 0;
    this.since = undefined;
    this.reasons = new Map();
    this.token = undefined;
    this.last = null;
  }

  add(frame) {
    this.since ??= Date.parse(frame.timestamp);
    if (frame.attempt > this.attempt && frame.attempt > 1) this.fold();
    this.attempt = Math.max(this.attempt, frame.attempt ?? 0);
    if (this.repeats(frame)) return;
    const after = (Date.parse(frame.timestamp) - this.since) / 1000;
    const item = element('li', { data: { type: typeOf(frame), seq: frame.seq } },
      element('span', { className: 'what' }, ...this.words(frame)),
      element('time', { dateTime: frame.timestamp, title: clock(frame.timestamp), textContent: `+${duration(after)}` }));
    this.list.append(item);
    this.last = { item, frame, times: 1 };
  }

  /** Folds the attempt that has ended: what failed stays in sight, and how far it came opens. */
  fold() {
    const items = [...this.list.children].filter(({ className, dataset }) => className !== 'attempt' && dataset.type !== 'pending');
    if (items.length === 0) return;
    const failed = items.find(({ dataset }) => dataset.type === 'execution-failed');
    const said = failed?.querySelector('.what').firstChild.textContent ?? `Attempt ${this.attempt}`;
    this.list.append(element('li', { className: 'attempt' },
      element('details', {}, element('summary', { textContent: said }), element('ol', {}, ...items))));
    this.last = null;
  }

  /** Counts an event up that says what the one before said, as those of a wait do. */
  repeats(frame) {
    const last = this.last;
    if (last?.frame.type !== 'retry-pending' || frame.type !== 'retry-pending') return false;
    if (sameness(last.frame.message) !== sameness(frame.message)) return false;
    last.times += 1;
    last.item.dataset.seq = `${last.item.dataset.seq} ${frame.seq}`;
    last.item.querySelector('.times')?.remove();
    last.item.querySelector('.what').append(element('span', { className: 'times', textContent: ` ×${last.times}` }));
    return true;
  }

  words(frame) {
    if (!BAD.has(frame.type)) return [text(frame)];
    const { message, code } = frame.error;
    const said = sameness(message);
    const before = this.reasons.get(said);
    if (!before) this.reasons.set(said, frame.attempt ?? 0);
    const title = frame.type === 'failed' ? (headline(code) ?? 'The order failed.') : `Attempt ${frame.attempt} failed`;
    // The failure at the end stands above the timeline in full.
    if (frame.type === 'failed') return [title];
    if (before !== undefined) return [`${title}, as attempt ${before} did`];
    return [`${title}: ${headline(code) ?? ''}`.replace(/: $/, ''), ...details(message, this.token)];
  }
}

/** Returns a reason that opens, so that it takes no place until somebody wants it. */
function details(message, token) {
  const { text: said, parts } = reason(message, token);
  return [element('details', { className: 'why' }, element('summary', { textContent: 'Why' }),
    element('p', { textContent: said }), ...reasonList(parts))];
}

/** Returns the parts of a reason as a list, if it has any. */
export function reasonList(parts) {
  if (parts.length === 0) return [];
  return [element('ul', {}, ...parts.map(({ who, what, times }) => element('li', { textContent: `${who}: ${what}${times > 1 ? ` (and ${times - 1} more like it)` : ''}` })))];
}

/** A cancelled order has not failed. */
const typeOf = (frame) => (frame.type === 'failed' && frame.error.code === 'cancelled' ? 'cancelled' : frame.type);

function text(frame) {
  if (frame.retryInMs === undefined) return frame.message;
  return frame.message.replace(/in \d+ ms/, `in ${duration(frame.retryInMs / 1000)}`);
}
