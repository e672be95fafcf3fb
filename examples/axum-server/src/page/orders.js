// The list of recent orders, live.

import { $, age, announce, element, setText } from './dom.js';
import { amount, exact } from './format.js';
import { isTerminal, standing } from './order.js';
import { post, reasonOf } from './session.js';

export class OrderList {
  /** `onChoice` gets the order that somebody wants to see. */
  constructor(onChoice) {
    this.onChoice = onChoice;
    this.rows = new Map();
  }

  /** Shows the orders, and marks the one that is followed. Rows stay the same elements, so that the focus stays where it is. */
  show(orders, followed) {
    this.orders = orders;
    $('recent-empty').hidden = orders.length > 0;
    $('recent').hidden = orders.length === 0;
    for (const id of this.rows.keys()) if (!orders.some(({ orderId }) => orderId === id)) this.rows.delete(id);
    const rows = orders.map((order) => this.row(order, order.orderId === followed));
    const body = $('recent-rows');
    rows.forEach((row, at) => {
      if (body.children[at] !== row) body.insertBefore(row, body.children[at] ?? null);
    });
    while (body.children.length > rows.length) body.lastChild.remove();
  }

  row(order, isFollowed) {
    const parts = this.rows.get(order.orderId) ?? this.newRow(order);
    const word = standing(order.status, order.code);
    setText(parts.badge, word);
    parts.badge.dataset.status = word;
    parts.bar.value = order.progress;
    parts.bar.hidden = isTerminal(order.status);
    parts.cancel.hidden = isTerminal(order.status);
    setText(parts.received, order.amountOut ? `${amount(order.amountOut)} ${order.tokenOut}` : '');
    parts.received.title = order.amountOut ? `${exact(order.amountOut)} ${order.tokenOut}` : '';
    if (isFollowed) parts.choose.setAttribute('aria-current', 'true');
    else parts.choose.removeAttribute('aria-current');
    return parts.row;
  }

  newRow(order) {
    const summary = `${amount(order.amount)} ${order.tokenIn} → ${order.tokenOut}`;
    const choose = element('button', { type: 'button', className: 'choose', textContent: summary });
    choose.addEventListener('click', () => this.onChoice(order.orderId, summary));
    const badge = element('span', { className: 'badge' });
    const bar = element('progress', { max: 100, attributes: { 'aria-label': `Progress of ${summary}` } });
    const cancel = element('button', { type: 'button', className: 'quiet small', textContent: 'Cancel', attributes: { 'aria-label': `Cancel ${summary}` } });
    cancel.addEventListener('click', () => this.cancel(order.orderId, cancel));
    const received = element('td', { className: 'number received' });
    const row = element('tr', { data: { order: order.orderId } }, element('th', { scope: 'row' }, choose), received,
      element('td', { className: 'state' }, badge, bar),
      element('td', { className: 'number age' }, age(order.createdAt)), element('td', { className: 'act' }, cancel));
    const parts = { row, choose, badge, bar, cancel, received };
    this.rows.set(order.orderId, parts);
    return parts;
  }

  async cancel(orderId, button) {
    button.setAttribute('aria-busy', 'true');
    try {
      await post(`/api/orders/${orderId}/cancel`);
    } catch (error) {
      announce(reasonOf(error));
    }
    button.removeAttribute('aria-busy');
  }
}
