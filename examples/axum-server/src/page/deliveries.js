// Webhooks: what waits for each sink, and what was sent to the endpoints of this key's user.

import { $, age, announce, element, setText } from './dom.js';
import { brief, duration } from './format.js';
import { get, post, reasonOf, Refused } from './session.js';

const SHOWN = 8;

export class Deliveries {
  constructor() {
    $('reload-deliveries').addEventListener('click', () => this.load());
  }

  /** Shows what durable sinks still have to get. */
  showSinks(sinks) {
    $('no-sinks').hidden = sinks.length > 0;
    $('sinks').replaceChildren(...sinks.map(({ sink, orders, pendingForMs }) => element('li', { data: { well: !orders } },
      element('span', { className: 'part', textContent: sink }),
      element('span', { textContent: orders ? `${orders} orders wait, the oldest for ${duration((pendingForMs ?? 0) / 1000)}` : 'has everything' }))));
  }

  async load() {
    try {
      const { webhooks } = await get('/api/webhooks');
      const logs = await Promise.all(webhooks.map(async (webhook) => {
        const { deliveries } = await get(`/api/webhooks/${webhook.id}/deliveries?limit=${SHOWN}`);
        return this.endpoint(webhook, deliveries);
      }));
      $('endpoints').replaceChildren(...logs);
      setText($('deliveries-note'), webhooks.length ? '' : 'The user of this key has no webhooks.');
    } catch (error) {
      const isScope = error instanceof Refused && error.status === 403;
      setText($('deliveries-note'), isScope ? 'Webhooks belong to users: a key with the scope read shows those of its user.' : reasonOf(error));
    }
  }

  endpoint({ id, url, status, lastError }, deliveries) {
    const rows = deliveries.map((attempt) => element('tr', { data: { well: !attempt.error } },
      element('th', { scope: 'row', textContent: attempt.type }),
      element('td', {}, attempt.orderId ? element('code', { textContent: brief(attempt.orderId, 4), title: attempt.orderId }) : 'a test'),
      element('td', { className: 'result', textContent: attempt.error ?? `delivered, ${attempt.status}` }),
      element('td', { className: 'number', textContent: duration(attempt.durationMs / 1000) }),
      element('td', { className: 'number' }, age(attempt.at)),
      element('td', { className: 'number' }, attempt.orderId ? this.again(id, attempt) : '')));
    const names = ['Event', 'Order', 'Result', 'Took', 'Age'].map((name) => element('th', { scope: 'col', textContent: name, className: ['Took', 'Age'].includes(name) ? 'number' : '' }));
    const table = element('table', {}, element('caption', { className: 'hidden', textContent: `Deliveries to ${url}` }),
      element('thead', {}, element('tr', {}, ...names, element('th', { scope: 'col' }, element('span', { className: 'hidden', textContent: 'Act' })))),
      element('tbody', {}, ...rows));
    return element('section', { className: 'endpoint', attributes: { 'aria-label': url } },
      element('div', { className: 'row' }, element('strong', { className: 'url', textContent: url }),
        element('span', { className: 'badge', data: { status: status === 'enabled' ? 'confirmed' : 'failed' }, textContent: status }),
        element('span', { className: 'note', textContent: lastError ? `last error: ${lastError}` : '' })),
      deliveries.length ? element('div', { className: 'wide', tabIndex: 0, attributes: { role: 'group', 'aria-label': `Deliveries to ${url}` } }, table)
        : element('p', { className: 'note', textContent: 'Nothing was sent yet.' }));
  }

  again(id, { orderId, seq, type }) {
    const button = element('button', { type: 'button', className: 'quiet small', textContent: 'Send again', attributes: { 'aria-label': `Send again: ${type} ${seq}` } });
    button.addEventListener('click', async () => {
      try {
        const { error } = await post(`/api/webhooks/${id}/redeliver`, { orderId, seq });
        announce(error ? `It failed: ${error}.` : 'Delivered.');
      } catch (error) {
        announce(reasonOf(error));
      }
      await this.load();
    });
    return button;
  }
}
