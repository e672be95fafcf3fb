// The orders that failed lately, of those that the key may read: without authentication all of them.

import { $, age, element } from './dom.js';
import { brief, exact } from './format.js';
import { standing } from './order.js';
import { get } from './session.js';

const SHOWN = 6;

export class Failures {
  /** `onChoice` gets the order that somebody wants to see. */
  constructor(onChoice) {
    this.onChoice = onChoice;
  }

  /** Reads the orders. A key that may operate and not read sees none. */
  async load() {
    const listed = await get(`/api/orders?status=failed&limit=${SHOWN}`).catch(() => null);
    $('failures-card').hidden = !listed;
    if (!listed) return;
    $('no-failures').hidden = listed.orders.length > 0;
    $('failures').hidden = listed.orders.length === 0;
    $('failures-rows').replaceChildren(...listed.orders.map((order) => this.row(order)));
  }

  row({ orderId, amount, tokenIn, tokenOut, userId, error, status, updatedAt }) {
    const title = tokenIn ? `${exact(amount)} ${tokenIn} → ${tokenOut}` : brief(orderId, 8);
    const open = element('button', { type: 'button', className: 'choose', textContent: title });
    open.addEventListener('click', () => this.onChoice(orderId));
    const code = error?.code ?? 'unreadable';
    return element('tr', {}, element('th', { scope: 'row' }, open), element('td', { textContent: userId ?? '' }),
      element('td', {}, element('span', { className: 'badge', data: { status: standing(status ?? 'failed', code) }, textContent: code })),
      element('td', { className: 'number' }, updatedAt ? age(updatedAt) : ''));
  }
}
