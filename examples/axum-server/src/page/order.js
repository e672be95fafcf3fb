// The order that is followed: its state, its progress, what it came to, and its timeline.

import { $, announce, copyButton, element, setText } from './dom.js';
import { amount, brief, duration, exact } from './format.js';
import { headline, reason } from './reasons.js';
import { get, post, reasonOf } from './session.js';
import { LiveSocket } from './socket.js';
import { reasonList, Timeline } from './timeline.js';
import { bySymbol, explorerUrl } from './tokens.js';

export const isTerminal = (status) => status === 'confirmed' || status === 'failed';

/** How an order ended or stands, in a word: of those that failed, some were cancelled or too late. */
export function standing(status, code) {
  return status === 'failed' && ['cancelled', 'expired'].includes(code) ? code : status;
}

/** The stages of an order, and the progress from which on each is reached. */
const STAGES = ['pending', 'routing', 'building', 'submitted', 'confirmed'];
const NAMES = { pending: 'Accepted', routing: 'Routing', building: 'Building', submitted: 'Sending', confirmed: 'Final' };

const CONNECTIONS = { connecting: 'connecting…', live: 'live', reconnecting: 'reconnecting…', ended: '', unknown: '' };

export class OrderView {
  /** `onChange` gets each event of the order that is shown. */
  constructor(onChange) {
    this.onChange = onChange;
    this.timeline = new Timeline();
    $('cancel').addEventListener('click', () => this.cancel());
  }

  /** Follows an order. `summary` says what it is about, if that is known. */
  async follow(orderId, summary) {
    this.socket?.close();
    this.orderId = orderId;
    this.lastSeq = 0;
    [this.sold, this.unit] = ['', ''];
    this.summary = summary ?? '';
    this.reset(orderId);
    await this.describe(orderId);
    if (this.orderId !== orderId) return;
    this.socket = new LiveSocket({
      path: `/ws/orders/${encodeURIComponent(orderId)}`,
      query: () => ({ after: this.lastSeq }),
      take: (frame) => this.take(orderId, frame),
      show: (state) => this.showConnection(orderId, state),
    });
  }

  reset(orderId) {
    history.replaceState(null, '', `#${orderId}`);
    $('order-card').hidden = false;
    $('order').hidden = false;
    $('unknown').hidden = true;
    $('outcome').replaceChildren();
    $('outcome').hidden = true;
    $('facts').replaceChildren();
    setText($('summary'), this.summary || 'An order');
    setText($('attempt'), '');
    setText($('cancel-note'), '');
    this.timeline.clear();
    this.code = undefined;
    this.frames = 0;
    this.reached = 0;
    this.setFact('Order', this.identifier(orderId, 'Copy the id of the order'));
    this.showStatus('pending', 0);
  }

  /** Brings the order into view and gives it the focus: it was just placed, or chosen. */
  present() {
    const isCalm = matchMedia('(prefers-reduced-motion: reduce)').matches;
    $('order-title').focus({ preventScroll: true });
    const { top } = $('order-card').getBoundingClientRect();
    // Where most of it is seen already, nothing moves.
    if (top >= 0 && top < innerHeight / 3) return;
    $('order-card').scrollIntoView({ block: 'start', behavior: isCalm ? 'auto' : 'smooth' });
  }

  /** Reads the order's amount and tokens, which its events do not have. */
  async describe(orderId) {
    const order = await get(`/api/orders/status/${encodeURIComponent(orderId)}`).catch(() => null);
    if (!order || this.orderId !== orderId) return;
    [this.sold, this.unit] = [order.tokenIn, order.tokenOut];
    this.timeline.token = bySymbol(order.tokenOut);
    this.summary = `${amount(order.amount)} ${order.tokenIn} → ${order.tokenOut}`;
    setText($('summary'), this.summary);
    this.createdAt = Date.parse(order.createdAt);
    this.showTitle();
  }

  take(orderId, frame) {
    if (this.orderId !== orderId) return;
    if (frame.type === 'error' || frame.type === 'notice') {
      setText($('connection'), frame.message);
    } else if (frame.seq > this.lastSeq) {
      this.lastSeq = frame.seq;
      this.showEvent(frame);
      this.onChange(frame);
    }
  }

  showConnection(orderId, state) {
    if (this.orderId !== orderId) return;
    $('connection').dataset.state = state;
    setText($('connection'), CONNECTIONS[state]);
    if (state !== 'unknown') return;
    $('order').hidden = true;
    $('unknown').hidden = false;
    $('status').dataset.status = 'unknown';
    setText($('status'), 'not found');
    document.title = 'No such order · order-engine';
    announce('There is no such order, or it is somebody else’s.');
  }

  showEvent(frame) {
    if (frame.error && frame.type === 'failed') this.code = frame.error.code;
    this.showStatus(frame.status, frame.progress);
    if (frame.maxAttempts) setText($('attempt'), frame.attempt > 1 || frame.type === 'execution-failed' ? `attempt ${frame.attempt} of ${frame.maxAttempts}` : '');
    if (frame.chosenDex) this.setFact('Exchange', frame.chosenDex);
    if (frame.minOut) this.setFact('At least', this.amount(frame.minOut));
    if (frame.txHash) this.setFact('Transaction', this.transaction(frame.txHash));
    if (frame.executionPriceExact) this.setFact('Price', this.amount(frame.executionPriceExact, this.sold && `1 ${this.sold} = `));
    if (frame.type === 'confirmed') this.showOutcome('good', [`Received ${amount(frame.amountOut)} ${this.unit}`], frame);
    if (frame.type === 'failed') this.showFailure(frame);
    this.timeline.add(frame);
  }

  showFailure(frame) {
    const { code, message } = frame.error;
    const { text, parts } = reason(message, bySymbol(this.unit));
    const title = headline(code) ?? 'The order failed. Nothing was traded.';
    const isCancelled = standing('failed', code) !== 'failed';
    const more = isCancelled ? [] : [element('p', { className: 'why', textContent: text }), ...reasonList(parts)];
    this.showOutcome(isCancelled ? 'neutral' : 'bad', [title, ...more], frame);
  }

  showOutcome(tone, [title, ...more], frame) {
    const took = (Date.parse(frame.timestamp) - (this.createdAt ?? Date.parse(frame.timestamp))) / 1000;
    $('outcome').dataset.tone = tone;
    $('outcome').hidden = false;
    $('outcome').replaceChildren(
      element('p', { className: 'outcome-title' }, element('strong', { textContent: title }),
        element('span', { textContent: took > 0 ? `after ${duration(took)}` : '' })), ...more);
    if (frame.amountOut) $('outcome').querySelector('strong').title = exact(frame.amountOut);
  }

  showStatus(status, progress) {
    const word = standing(status, this.code);
    const isAnother = $('status').dataset.status !== word;
    setText($('status'), word);
    $('status').dataset.status = word;
    if (status !== 'failed') this.reached = STAGES.indexOf(status);
    $('progress').value = status === 'failed' ? 100 : progress;
    $('progress').dataset.status = word;
    $('progress').setAttribute('aria-valuetext', status === 'failed' ? word : `${progress} percent, ${word}`);
    $('stages').replaceChildren(...STAGES.map((stage, at) => element('li', {
      data: { reached: at <= this.reached, failed: status === 'failed' && at === this.reached },
      textContent: NAMES[stage],
    })));
    $('cancel').hidden = isTerminal(status);
    if (isAnother && this.summary) announce(`Order ${this.summary}: ${word}.`);
    this.progress = progress;
    this.showTitle();
  }

  /** The tab says how the order is, for those who look at another one. */
  showTitle() {
    const word = $('status').dataset.status;
    const sign = { confirmed: '✓', failed: '✕', cancelled: '–', expired: '–' }[word] ?? `${this.progress} %`;
    document.title = `${sign} ${word} · ${this.summary || 'order'} · order-engine`;
  }

  amount(text, before = '') {
    return element('span', { title: `${exact(text)} ${this.unit}`, textContent: `${before}${amount(text)} ${this.unit}` });
  }

  identifier(id, label, shown = brief(id)) {
    return element('span', { className: 'id' }, typeof shown === 'string' ? element('code', { textContent: shown, title: id }) : shown, copyButton(id, label));
  }

  transaction(id) {
    const href = explorerUrl(id);
    const link = href && element('a', { href, title: id, textContent: brief(id), target: '_blank', rel: 'noopener noreferrer' },
      element('span', { className: 'hidden', textContent: ' at the explorer of the chain, in a new tab' }));
    return this.identifier(id, 'Copy the id of the transaction', link ?? brief(id));
  }

  /** Shows a fact about the order, and replaces an older fact of the same name. */
  setFact(name, value) {
    const old = [...$('facts').querySelectorAll('dt')].find((dt) => dt.textContent === name);
    if (old) old.nextElementSibling.replaceChildren(value);
    else $('facts').append(element('dt', { textContent: name }), element('dd', {}, value));
  }

  async cancel() {
    const orderId = this.orderId;
    $('cancel').setAttribute('aria-busy', 'true');
    let note = '';
    try {
      const { cancel } = await post(`/api/orders/${orderId}/cancel`);
      if (cancel === 'pending') note = 'The cancel is noted. It takes effect unless the order has been executed.';
    } catch (error) {
      note = reasonOf(error);
    }
    $('cancel').removeAttribute('aria-busy');
    if (this.orderId === orderId) {
      setText($('cancel-note'), note);
      if (note) announce(note);
    }
  }
}
