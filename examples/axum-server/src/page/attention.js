// The orders that need an operator, and what can be done with an order.

import { ask } from './confirm.js';
import { $, age, announce, copyButton, element, setText } from './dom.js';
import { clearErrors, showError } from './fields.js';
import { brief, exact, fromBaseUnits } from './format.js';
import { standing } from './order.js';
import { get, post, reasonOf, Refused } from './session.js';
import { bySymbol } from './tokens.js';

/** Why an order needs an operator, and what helps. */
const KINDS = {
  quarantined: ['In quarantine', 'Workers died of this order, several times in a row. Mend the cause, then release it; or cancel it.'],
  'outcome-unknown': ['Outcome unknown', 'Nobody knows whether its transaction was executed. Search the chain, then resolve it; the engine goes on observing.'],
  unreadable: ['Unreadable', 'This program cannot read the order, most likely because a newer one wrote it. Update the program, then make it due.'],
  'cancel-requested': ['Cancel requested', 'Its transaction may still land. Nothing has to be done.'],
};

/** The acts that need nothing said. */
const ACTS = {
  release: ['Release', 'Released from quarantine.'],
  retry: ['Retry as a new order', 'A new order was made.'],
  'make-due': ['Make due now', 'The order is due.'],
  cancel: ['Cancel', 'The cancel is noted.'],
};

export class Attention {
  constructor() {
    this.orderId = undefined;
    $('find-form').addEventListener('submit', (event) => {
      event.preventDefault();
      const id = $('find').value.trim();
      if (id) this.open(id);
    });
    $('search-chain').addEventListener('click', () => this.searchChain());
    $('resolve-form').addEventListener('submit', (event) => {
      event.preventDefault();
      this.resolve();
    });
    $('resolve-outcome').addEventListener('change', () => this.showOutcome());
    for (const act of Object.keys(ACTS)) $(`act-${act}`).addEventListener('click', () => this.act(act));
    this.showOutcome();
  }

  /** Reads the orders that need somebody, if their number has changed or `isForced`. */
  async load(number, isForced = false) {
    if (number === this.number && !isForced) return;
    this.number = number;
    const { orders, nextCursor } = await get('/api/operator/attention?limit=50');
    $('no-attention').hidden = orders.length > 0;
    $('attention').hidden = orders.length === 0;
    $('attention-more').hidden = !nextCursor;
    $('attention-rows').replaceChildren(...orders.map((order) => this.row(order)));
  }

  row(order) {
    const [kind] = KINDS[order.attention] ?? [order.attention];
    const title = order.tokenIn ? `${exact(order.amount)} ${order.tokenIn} → ${order.tokenOut}` : brief(order.orderId, 8);
    const open = element('button', { type: 'button', className: 'choose', textContent: title });
    open.addEventListener('click', () => this.open(order.orderId));
    return element('tr', {}, element('th', { scope: 'row' }, open),
      element('td', { textContent: order.userId ?? '' }),
      element('td', {}, element('span', { className: 'badge', data: { status: 'attention' }, textContent: kind })),
      element('td', { className: 'number' }, order.updatedAt ? age(order.updatedAt) : ''));
  }

  /** Shows an order. */
  async open(orderId) {
    this.orderId = orderId;
    setText($('find-error'), '');
    try {
      const view = await get(`/api/operator/orders/${encodeURIComponent(orderId)}`);
      this.show(view);
      $('desk-title').focus({ preventScroll: true });
      $('desk').scrollIntoView({ block: 'nearest' });
    } catch (error) {
      $('desk').hidden = true;
      setText($('find-error'), reasonOf(error));
    }
  }

  show(view) {
    const { order, attention, transactions } = view;
    this.view = view;
    $('desk').hidden = false;
    setText($('desk-title'), `${exact(order.amount)} ${order.tokenIn} → ${order.tokenOut}`);
    const word = standing(order.status, order.error?.code);
    setText($('desk-status'), word);
    $('desk-status').dataset.status = word;
    $('desk-why').hidden = !attention;
    if (attention) {
      const [title, advice] = KINDS[attention.kind] ?? [attention.kind, ''];
      setText($('desk-why-title'), `${title}: ${attention.message}.`);
      setText($('desk-why-text'), advice);
    }
    this.showFacts(view, transactions);
    const isOver = ['confirmed', 'failed'].includes(order.status);
    $('act-release').hidden = attention?.kind !== 'quarantined';
    $('act-retry').hidden = order.status !== 'failed';
    $('act-make-due').hidden = isOver;
    $('act-cancel').hidden = isOver;
    $('search-chain').hidden = transactions.length === 0 && !order.txHash;
    $('resolve').hidden = attention?.kind !== 'outcome-unknown';
    setText($('desk-note'), '');
    $('found').replaceChildren();
  }

  showFacts({ order, venue, origin, isCancelRequested }, transactions) {
    const code = (id) => element('span', { className: 'id' }, element('code', { textContent: brief(id, 8), title: id }), copyButton(id, 'Copy the id'));
    const facts = [['Order', code(order.orderId)], ['User', order.userId], ['Attempt', `${order.attempt} of ${order.maxAttempts}`],
      ...(venue ? [['Venue', venue]] : []), ...(origin ? [['Repeats', code(origin)]] : []),
      ...(isCancelRequested ? [['Cancel', 'requested']] : []), ...(order.error ? [['Failed', order.error.message]] : []),
      ...transactions.map(({ txHash, purpose, untilHeight }) => ['Transaction', element('span', {}, code(txHash), ` ${purpose}${untilHeight ? `, valid until height ${untilHeight}` : ''}`)])];
    $('desk-facts').replaceChildren(...facts.flatMap(([name, value]) => [element('dt', { textContent: name }), element('dd', {}, value)]));
  }

  async act(act) {
    const orderId = this.orderId;
    const [label, done] = ACTS[act];
    if (act === 'retry' && !await ask({ title: 'Try the order again?', text: 'A new order of the same amount is executed, so it needs the money again.', yes: label })) return;
    await this.change(`/api/operator/orders/${orderId}/${act}`, {}, done);
  }

  /** Does something with the order, and shows what it is then. */
  async change(path, body, done) {
    try {
      await post(path, body);
      await this.open(this.orderId);
      setText($('desk-note'), done);
      announce(done);
      await this.load(this.number, true);
      return true;
    } catch (error) {
      setText($('desk-note'), reasonOf(error));
      announce(reasonOf(error));
      return error;
    }
  }

  async searchChain() {
    const orderId = this.orderId;
    $('search-chain').setAttribute('aria-busy', 'true');
    try {
      const { chain } = await get(`/api/operator/orders/${orderId}?chain=true`);
      if (this.orderId === orderId) this.showFound(chain);
    } catch (error) {
      setText($('desk-note'), reasonOf(error));
    }
    $('search-chain').removeAttribute('aria-busy');
  }

  showFound({ found, problem }) {
    const { order } = this.view;
    const rows = (found ?? []).map(({ txHash, outcome, isFinal, amountOutBaseUnits, height }) => {
      const decimals = bySymbol(order.tokenOut)?.decimals;
      const out = amountOutBaseUnits && decimals !== undefined ? fromBaseUnits(amountOutBaseUnits, decimals) : undefined;
      if (out && outcome === 'landed') {
        $('resolve-outcome').value = 'executed';
        this.showOutcome();
        [$('resolve-out').value, $('resolve-height').value] = [out, height];
      }
      return element('li', {}, element('code', { textContent: brief(txHash, 8), title: txHash }),
        ` ${outcome ?? 'the venue does not say'}${out ? `, paid ${exact(out)} ${order.tokenOut} at height ${height}` : ''}${isFinal ? ', final' : ''}`);
    });
    const text = problem ? problem.detail : rows.length ? '' : 'The chain has no transaction with the tag of this order. That proves nothing: one may still land.';
    $('found').replaceChildren(...(text ? [element('p', { className: 'note', textContent: text })] : [element('ul', {}, ...rows)]));
    announce(text || 'The chain has transactions of this order.');
  }

  showOutcome() {
    const isExecuted = $('resolve-outcome').value === 'executed';
    for (const label of $('resolve-form').querySelectorAll('[data-outcome]')) label.hidden = !isExecuted;
  }

  async resolve() {
    const form = $('resolve-form');
    clearErrors(form);
    const { outcome, note, amountOut, height } = Object.fromEntries(new FormData(form));
    const fill = outcome === 'executed' ? { amountOut: amountOut.trim(), height: Number(height) } : {};
    const result = await this.change(`/api/operator/orders/${this.orderId}/resolve`, { outcome, note: note.trim(), ...fill }, 'Resolved.');
    if (result instanceof Refused) for (const { field, message } of result.problem.errors ?? []) showError(form, field, message);
    if (result === true) form.reset();
  }
}
