// Webhooks: what waits for each sink, how the endpoints of all users are, and what was sent to them.

import { $, age, announce, element, setText } from './dom.js';
import { brief, duration } from './format.js';
import { get, post, reasonOf, Refused } from './session.js';

/** How many webhooks come at a time, and how many deliveries of one are shown. */
const PAGE = 20;
const SHOWN = 8;
const ROUTE = '/api/operator/webhooks';

export class Deliveries {
  constructor() {
    $('reload-deliveries').addEventListener('click', () => this.load());
    $('webhooks-shown').addEventListener('change', () => this.load());
    $('more-webhooks').addEventListener('click', () => this.show(this.next));
  }

  /** Shows what durable sinks still have to get. */
  showSinks(sinks) {
    $('no-sinks').hidden = sinks.length > 0;
    $('sinks').replaceChildren(...sinks.map(({ sink, orders, pendingForMs }) => element('li', { data: { well: !orders } },
      element('span', { className: 'part', textContent: sink }),
      element('span', { textContent: orders ? `${orders} orders wait, the oldest for ${duration((pendingForMs ?? 0) / 1000)}` : 'has everything' }))));
  }

  /** Reads the webhooks from the first one on. Those that are open stay so. */
  load() {
    const open = new Set([...document.querySelectorAll('#endpoints details[open]')].map(({ dataset }) => dataset.id));
    return this.show(null, open);
  }

  /** Shows the page of webhooks that begins at a cursor, below those that are shown. */
  async show(cursor, open = new Set()) {
    const statuses = $('webhooks-shown').value;
    const query = new URLSearchParams({ limit: PAGE });
    if (statuses) query.set('status', statuses);
    if (cursor) query.set('cursor', cursor);
    try {
      const { webhooks, nextCursor } = await get(`${ROUTE}?${query}`);
      const shown = webhooks.map((webhook) => this.endpoint(webhook, open.has(webhook.id)));
      if (cursor) $('endpoints').append(...shown);
      else $('endpoints').replaceChildren(...shown);
      this.next = nextCursor;
      $('more-webhooks').hidden = !nextCursor;
      const none = statuses ? 'No webhook is in trouble.' : 'Nobody has a webhook.';
      setText($('deliveries-note'), $('endpoints').childElementCount || nextCursor ? '' : none);
    } catch (error) {
      const isOff = error instanceof Refused && error.problem.code === 'no-webhooks';
      setText($('deliveries-note'), isOff ? 'This server has no webhooks.' : reasonOf(error));
    }
  }

  endpoint(webhook, isOpen) {
    const { id, url, userId, status, lastError, failingSince } = webhook;
    const since = failingSince ? element('span', { className: 'note' }, 'failing since ', age(failingSince)) : null;
    const summary = element('summary', {},
      element('strong', { className: 'url', textContent: url }),
      element('span', { className: 'badge', data: { status: status === 'enabled' ? 'confirmed' : status === 'off' ? 'cancelled' : 'failed' }, textContent: status }),
      element('span', { className: 'note', textContent: `of ${userId}${lastError ? `, last error: ${lastError}` : ''}` }), since);
    const log = element('div', {});
    const details = element('details', { className: 'endpoint', data: { id } }, summary, log);
    details.addEventListener('toggle', () => details.open && this.showLog(webhook, log));
    details.open = isOpen;
    return details;
  }

  async showLog(webhook, log) {
    try {
      const { deliveries } = await get(`${ROUTE}/${webhook.id}/deliveries?limit=${SHOWN}`);
      log.replaceChildren(deliveries.length ? this.table(webhook, deliveries, log) : element('p', { className: 'note', textContent: 'Nothing was sent yet.' }));
    } catch (error) {
      log.replaceChildren(element('p', { className: 'note', textContent: reasonOf(error) }));
    }
  }

  table(webhook, deliveries, log) {
    const rows = deliveries.map((attempt) => element('tr', { data: { well: !attempt.error } },
      element('th', { scope: 'row', textContent: attempt.type }),
      element('td', {}, attempt.orderId ? element('code', { textContent: brief(attempt.orderId, 4), title: attempt.orderId }) : 'a test'),
      element('td', { className: 'result', textContent: attempt.error ?? `delivered, ${attempt.status}` }),
      element('td', { className: 'number', textContent: duration(attempt.durationMs / 1000) }),
      element('td', { className: 'number' }, age(attempt.at)),
      element('td', { className: 'number' }, attempt.orderId ? this.again(webhook, attempt, log) : '')));
    const names = ['Event', 'Order', 'Result', 'Took', 'Age'].map((name) => element('th', { scope: 'col', textContent: name, className: ['Took', 'Age'].includes(name) ? 'number' : '' }));
    const table = element('table', {}, element('caption', { className: 'hidden', textContent: `Deliveries to ${webhook.url}` }),
      element('thead', {}, element('tr', {}, ...names, element('th', { scope: 'col' }, element('span', { className: 'hidden', textContent: 'Act' })))),
      element('tbody', {}, ...rows));
    return element('div', { className: 'wide', tabIndex: 0, attributes: { role: 'group', 'aria-label': `Deliveries to ${webhook.url}` } }, table);
  }

  again(webhook, { orderId, seq, type }, log) {
    const button = element('button', { type: 'button', className: 'quiet small', textContent: 'Send again', attributes: { 'aria-label': `Send again: ${type} ${seq}` } });
    button.addEventListener('click', async () => {
      try {
        const { error } = await post(`${ROUTE}/${webhook.id}/redeliver`, { orderId, seq });
        announce(error ? `It failed: ${error}.` : 'Delivered.');
      } catch (error) {
        announce(reasonOf(error));
      }
      await this.showLog(webhook, log);
    });
    return button;
  }
}
