// What operators see and do.
'use strict';

const assert = require('node:assert/strict');
const http = require('node:http');
const path = require('node:path');
const { assertNoBarriers } = require('./checks');
const { crash, makeKey, pause, scratch, startServer, startVenue } = require('./processes');

/** A server finds an order of a dead one after so long, and a bit. */
const LEASE_MS = 500;
const TAKEN_MS = 1200;
/** So many deaths are more than enough for a quarantine. */
const DEATHS_MAX = 20;

const place = (url, key, amount) => fetch(`${url}api/orders/execute`, {
  method: 'POST',
  headers: { 'Content-Type': 'application/json', ...(key && { Authorization: `Bearer ${key}` }) },
  body: JSON.stringify({ tokenIn: 'SOL', tokenOut: 'USDC', amount }),
}).then(async (answer) => ({ ...await answer.json(), status: answer.status }));

const said = (text) => `document.getElementById('announcements').textContent === '${text}'`;

/**
 * Starts a server whose venue takes transactions and forgets them, and whose nodes have too short a memory to prove it. The outcome of its
 * order stays unknown, which takes half a minute to be sure of.
 */
async function startDoubt() {
  const venue = await startVenue('--slot-ms', '20', '--step-ms', '20', '--drop-rate', '1', '--history-prune-rate', '1', '--history-kept-slots', '1');
  const file = path.join(scratch, 'operators.json');
  const keys = { olga: makeKey(file, 'olga', 'operate'), alice: makeKey(file, 'alice', 'read,trade') };
  const server = await startServer({ args: ['--venue-url', venue.url, '--api-keys', file, '--webhook-http', '--webhook-networks', '127.0.0.0/8'] });
  const { orderId } = await place(server.url, keys.alice, '1.5');
  return { server, venue, keys, orderId };
}

/** Fills the field of a select as a person does. */
const choose = (tab, id, value) => tab.value(`(() => {
  const field = document.getElementById('${id}');
  field.value = '${value}';
  field.dispatchEvent(new Event('change', { bubbles: true }));
})()`);

async function enter(tab, url, key) {
  await tab.call('Page.navigate', { url });
  // The tab may have the key of another operator of this server.
  await tab.until(`location.href === '${url}' && document.getElementById('key-card')`);
  await tab.value('sessionStorage.clear()');
  await tab.call('Page.reload');
  await tab.until("document.getElementById('key-card')?.hidden === false && !sessionStorage.getItem('order-engine.key')");
  await tab.fill('key', key);
  await tab.click('#key-form button');
  await tab.until("document.body?.dataset.ready === 'true'");
}

/** A receiver of webhooks, which answers with a status. */
async function startReceiver(status) {
  const receiver = http.createServer((request, response) => {
    request.resume();
    response.writeHead(status).end();
  });
  await new Promise((resolve) => receiver.listen(0, '127.0.0.1', resolve));
  return { receiver, url: `http://127.0.0.1:${receiver.address().port}/hook` };
}

const steps = {
  async 'an operator sees what the engine does'(tab, { server }) {
    await tab.open(`${server.url}operate`);
    assert.equal(await tab.text('attention-count'), '0');
    for (let round = 0; round < 6; round += 1) {
      await Promise.all(['1', '2', '3', '4'].map((amount) => place(server.url, undefined, amount)));
      await pause(1500);
    }
    await tab.until("Number(document.getElementById('speed').textContent) > 0");
    await tab.until("/ms|s$/.test(document.getElementById('median').textContent)");
    assert.equal(await tab.count('.chart[role=img]'), 3);
    assert.match(await tab.value("document.querySelector('#throughput svg').getAttribute('aria-label')"), /^Orders a second over the last .+; now: accepted .+, confirmed .+, failed .+\.$/);
    assert.ok(await tab.value("document.querySelector('#throughput .line.first').getAttribute('d').split('L').length") > 2);
    assert.match(await tab.text('parts'), /Storetakes writes, durability full/);
    await assertNoBarriers(tab, 'the operators’ page');
    await tab.picture('operators', { whole: true });
    await tab.scheme('dark');
    await tab.picture('operators-dark', { whole: true });
    await tab.scheme('light');
  },

  async 'an operator pauses and resumes'(tab, { server }) {
    await tab.click('#pause');
    await tab.until("document.getElementById('pause-reason-error').textContent !== ''");
    assert.equal(await tab.value('document.activeElement.id'), 'pause-reason');
    tab.forgive(422);
    await choose(tab, 'pause-scope', 'pair');
    await tab.fill('pause-reason', 'the pool is being moved');
    await tab.value("document.querySelector('[name=tokenIn]').value = 'SOL'; document.querySelector('[name=tokenOut]').value = 'USDC'");
    await tab.click('#pause');
    await tab.until(said('Paused.'));
    assert.match(await tab.text('pauses'), /^Accepting · SOL → USDCthe pool is being moved · since \d\d:\d\d:\d\d/);
    const refused = await place(server.url, undefined, '1');
    assert.equal(refused.status, 503);
    await assertNoBarriers(tab, 'a pause');
    await tab.click('#pauses button');
    await tab.until(said('Resumed.'));
    assert.equal(await tab.count('#pauses li'), 0);
    assert.equal((await place(server.url, undefined, '1')).status, 202);
    await choose(tab, 'pause-scope', 'all');
  },

  async 'an operator halts everything and lets it go on'(tab, { server }) {
    await tab.click('#halt');
    await tab.until("document.getElementById('pause-reason-error').textContent.includes('why')");
    await tab.fill('pause-reason', 'the node tells lies');
    await tab.click('#halt');
    await tab.until("document.getElementById('confirm').open");
    await assertNoBarriers(tab, 'the question before the halt');
    await tab.click('#confirm-yes');
    await tab.until("!document.getElementById('halted').hidden");
    assert.equal((await place(server.url, undefined, '1')).status, 503);
    await tab.until("document.title.startsWith('HALTED')");
    await assertNoBarriers(tab, 'a halt');
    await tab.picture('halted');
    await tab.click('#unhalt');
    await tab.click('#confirm-yes');
    await tab.until("document.getElementById('halted').hidden");
    assert.equal((await place(server.url, undefined, '1')).status, 202);
  },

  async 'an order that workers die of is released from quarantine'(tab) {
    const slow = { store: `sqlite:${path.join(scratch, 'deadly.db')}`, delayMs: 60_000, args: ['--lease-ms', String(LEASE_MS)] };
    let server = await startServer(slow);
    const { orderId } = await place(server.url, undefined, '7');
    const needed = async () => (await fetch(`${server.url}api/operator/attention`).then((answer) => answer.json())).orders.length;
    for (let deaths = 0; deaths < DEATHS_MAX && !(await needed()); deaths += 1) {
      await pause(TAKEN_MS);
      await crash(server);
      server = await startServer({ ...slow, port: server.port });
    }
    await tab.open(`${server.url}operate`);
    await tab.until("document.getElementById('attention-count').textContent === '1'");
    assert.match(await tab.text('attention-rows'), /^7 SOL → USDCanonymousIn quarantine/);
    await tab.click('#attention-rows .choose');
    await tab.until("document.getElementById('desk').hidden === false");
    assert.equal(await tab.value('document.activeElement.id'), 'desk-title');
    assert.match(await tab.text('desk-why-title'), /^In quarantine: /);
    await assertNoBarriers(tab, 'an order in quarantine');
    await tab.picture('quarantine', { whole: true });
    await tab.click('#act-release');
    await tab.until(said('Released from quarantine.'));
    await tab.until("document.getElementById('desk-why').hidden && document.getElementById('attention-count').textContent === '0'");
    await tab.click('#act-cancel');
    await tab.until("document.getElementById('desk-status').textContent === 'cancelled'");
    await tab.until("document.getElementById('failures-rows').textContent.startsWith('7 SOL → USDCanonymouscancelled')");
    await tab.click('#failures-rows .choose');
    await tab.until("document.getElementById('act-retry').hidden === false");
    await tab.click('#act-retry');
    await tab.click('#confirm-yes');
    await tab.until(said('A new order was made.'));
    // Whoever asks for an order by its id sees it.
    await tab.fill('find', 'no-such-order');
    await tab.press('Enter');
    await tab.until("document.getElementById('find-error').textContent !== ''");
    tab.forgive(404);
    await tab.fill('find', orderId);
    await tab.press('Enter');
    await tab.until("document.getElementById('desk-status').textContent === 'cancelled'");
    await tab.call('Page.navigate', { url: 'about:blank' });
    await crash(server);
  },

  async 'an order of unknown outcome is resolved'(tab, state) {
    const { server, keys, orderId } = await state.doubt;
    await enter(tab, `${server.url}operate`, keys.olga);
    await tab.until("document.getElementById('attention-count').textContent === '1'");
    assert.match(await tab.value('document.title'), /^\(1\)/);
    assert.match(await tab.text('attention-rows'), /aliceOutcome unknown/);
    await tab.click('#attention-rows .choose');
    await tab.until("document.getElementById('resolve').hidden === false");
    await assertNoBarriers(tab, 'an order of unknown outcome');
    await tab.picture('unknown-outcome', { whole: true });
    await tab.click('#search-chain');
    await tab.until("document.getElementById('found').textContent !== ''");
    await tab.click('#resolve-form .primary');
    await tab.until("document.getElementById('resolve-note-error').textContent !== ''");
    tab.forgive(422);
    await choose(tab, 'resolve-outcome', 'executed');
    await tab.fill('resolve-out', '222.5');
    await tab.fill('resolve-height', '77');
    await tab.fill('resolve-note', 'the archive of another node has it');
    await tab.click('#resolve-form .primary');
    await tab.until(said('Resolved.'));
    await tab.until("document.getElementById('desk-status').textContent === 'confirmed' && document.getElementById('attention-count').textContent === '0'");
    const headers = { Authorization: `Bearer ${keys.alice}` };
    const order = await fetch(`${server.url}api/orders/status/${orderId}`, { headers }).then((answer) => answer.json());
    assert.deepEqual([order.status, order.amountOut], ['confirmed', '222.5']);
    assert.equal(await tab.text('deliveries-note'), 'No webhook is in trouble.');
    tab.forgive(401, 403);
  },

  async 'the reference of the interface is for everybody'(tab, { server }) {
    await tab.open(`${server.url}docs`);
    assert.ok(await tab.count('#operations section') > 40);
    assert.match(await tab.text('placeOrder'), /POST\/api\/orders\/execute/);
    await assertNoBarriers(tab, 'the reference');
    await tab.resize(390, 844, true);
    await assertNoBarriers(tab, 'the reference on a phone');
    await tab.resize(1280, 820);
  },

  async 'deliveries of webhooks are shown, and made again'(tab, state) {
    const { server, venue, keys } = await state.doubt;
    const { receiver, url } = await startReceiver(200);
    const headers = { 'Content-Type': 'application/json', Authorization: `Bearer ${keys.alice}` };
    const made = await fetch(`${server.url}api/webhooks`, { method: 'POST', headers, body: JSON.stringify({ url }) });
    assert.equal(made.status, 201);
    await place(server.url, keys.alice, '2');
    // Olga may operate and not read, and the webhook is alice's.
    await enter(tab, `${server.url}operate`, keys.olga);
    assert.equal(await tab.count('#endpoints details'), 0, 'it is in no trouble');
    await choose(tab, 'webhooks-shown', '');
    await tab.until("document.querySelectorAll('#endpoints details').length === 1");
    await tab.click('#endpoints summary');
    const reload = async () => {
      await tab.click('#reload-deliveries');
      await pause(200);
    };
    while (!(await tab.value("document.querySelectorAll('#endpoints details[open] tbody tr').length >= 3"))) await reload();
    assert.match(await tab.text('endpoints'), /enabledof alice/);
    assert.match(await tab.text('endpoints'), /delivered, 200/);
    await assertNoBarriers(tab, 'deliveries');
    await tab.click('#endpoints tbody button');
    await tab.until(said('Delivered.'));
    await tab.picture('deliveries', { whole: true });
    await tab.resize(390, 844, true);
    await assertNoBarriers(tab, 'the operators’ page on a phone');
    await tab.picture('operators-narrow', { whole: true });
    await tab.resize(1280, 820);
    await tab.call('Page.navigate', { url: 'about:blank' });
    tab.forgive(401, 403);
    receiver.close();
    await crash(server);
    await crash(venue);
  },
};

module.exports = { startDoubt, steps };
