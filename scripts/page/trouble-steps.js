// What those see who trade while something is not well.
'use strict';

const assert = require('node:assert/strict');
const { assertNoBarriers, assertWholeTimeline, quoted, status } = require('./checks');
const { crash, startServer } = require('./processes');

/** How tall a failed order may be on a phone, in pixels. */
const FAILED_HEIGHT_MAX = 1400;
/** The steps of a slow server take so long that it is surely in the middle of an order. */
const SLOW_MS = 60_000;
/** Longer than the server waits for a quote before it takes an order without one. */
const LATE_MS = 1100;

const restart = async (state, delayMs) => {
  await crash(state.server);
  state.server = await startServer({ port: state.server.port, store: state.store, delayMs });
};

/** Places the order in the form although the server does not say its price in time. */
async function placeUnpriced(tab) {
  await tab.click('#submit');
  await tab.until("document.getElementById('confirm').open");
  assert.equal(await tab.text('confirm-title'), 'Trade without knowing the price?');
  await tab.click('#confirm-yes');
}

module.exports = {
  async 'a server that goes away is told of for as long as it is away'(tab, state) {
    await crash(state.server);
    await tab.click('#requote');
    await tab.until("!document.getElementById('offline').hidden");
    assert.equal(await tab.text('announcements'), 'The server cannot be reached. Trying again.');
    await tab.fill('amount', '2');
    await tab.click('#submit');
    await tab.until("document.getElementById('confirm').open");
    await tab.click('#confirm-yes');
    await tab.until("document.getElementById('form-error').textContent.includes('cannot be reached')");
    await assertNoBarriers(tab, 'a server that is away');
    await tab.picture('away');
    state.server = await startServer({ port: state.server.port, store: state.store });
    await tab.until("document.getElementById('offline').hidden");
    await quoted(tab);
    await tab.until("document.getElementById('stream').textContent === 'live'");
    await tab.fill('amount', '1.5');
    assert.equal(await tab.text('form-error'), '');
    await quoted(tab);
    tab.forgive('away');
  },

  async 'tokens that cannot be loaded are asked for again'(tab, { server }) {
    await tab.call('Network.enable');
    await tab.call('Network.setBlockedURLs', { urls: ['*/api/tokens'] });
    await tab.call('Page.navigate', { url: `${server.url}?blocked` });
    await tab.until("location.search === '?blocked' && document.getElementById('tokens-error').textContent.startsWith('The tokens cannot be loaded.')");
    assert.equal(await tab.value("document.body.dataset.ready"), undefined);
    await assertNoBarriers(tab, 'no tokens');
    await tab.call('Network.setBlockedURLs', { urls: [] });
    // The page finds out by itself that the server is there; somebody may be faster.
    await tab.value("document.body.dataset.ready || document.getElementById('tokens-retry').click()");
    await tab.until("document.body.dataset.ready === 'true'");
    await quoted(tab);
    assert.equal(await tab.text('tokens-error'), '');
    await tab.call('Network.disable');
    tab.complaints = tab.complaints.filter((text) => !text.includes('ERR_BLOCKED_BY_CLIENT'));
  },

  async 'a crash of the server in the middle of an order is survived'(tab, state) {
    await restart(state, SLOW_MS);
    await tab.click('#flip');
    await tab.fill('amount', '100');
    assert.equal(await tab.text('receive'), '…', 'the quote of another order is gone');
    await placeUnpriced(tab);
    await tab.until("document.getElementById('summary').textContent === '100 USDC → SOL'");
    await tab.until("document.querySelectorAll('#timeline [data-seq]').length === 2");
    assert.equal(await tab.text('status'), 'routing');
    await crash(state.server);
    await tab.until("document.getElementById('connection').dataset.state === 'reconnecting' && document.getElementById('stream').dataset.state === 'reconnecting'");
    await tab.picture('reconnecting');
    state.server = await startServer({ port: state.server.port, store: state.store });
    await tab.until(status('confirmed'));
    await assertWholeTimeline(tab);
    await tab.until("document.querySelector('#recent-rows tr:first-child .badge').textContent === 'confirmed'");
    tab.forgive('away');
  },

  async 'an order is cancelled, and is then no failure'(tab, state) {
    await restart(state, SLOW_MS);
    await tab.fill('amount', '40');
    await placeUnpriced(tab);
    await tab.until(status('routing'));
    await tab.click('#cancel');
    await tab.until(status('cancelled'));
    const colours = await tab.value("['#status', '#recent-rows .badge'].map((one) => getComputedStyle(document.querySelector(one)).backgroundColor)");
    const bad = await tab.value("(() => { document.body.style.color = 'var(--bad)'; const is = getComputedStyle(document.body).color; document.body.style.color = ''; return is; })()");
    assert.ok(!colours.includes(bad), `${colours}`);
    assert.match(await tab.text('outcome'), /^Cancelled\. Nothing was traded\./);
    assert.match(await tab.value('document.title'), /^– cancelled/);
    // From the list as well, which does not choose the order.
    await tab.fill('amount', '41');
    await placeUnpriced(tab);
    await tab.until("document.getElementById('summary').textContent === '41 USDC → SOL'");
    await tab.until("document.querySelector('#recent-rows tr:first-child .choose').textContent === '41 USDC → SOL'");
    await tab.click('#recent-rows tr:first-child .act button');
    await tab.until("document.querySelector('#recent-rows tr:first-child .badge').textContent === 'cancelled'");
    await assertNoBarriers(tab, 'a cancelled order');
    await restart(state);
    await tab.until("document.getElementById('offline').hidden && document.getElementById('stream').textContent === 'live'");
    tab.forgive('away');
  },

  async 'a reload shows the same order and the others'(tab) {
    const before = await tab.value('location.href');
    const rows = await tab.count('#recent-rows tr');
    await tab.reload();
    await tab.until(status('cancelled'));
    assert.equal(await tab.value('location.href'), before);
    await tab.until(`document.querySelectorAll('#recent-rows tr').length === ${rows}`);
    await tab.click('#recent-rows tr:nth-child(3) .choose');
    await tab.until("document.getElementById('summary').textContent === '100 USDC → SOL'");
    await tab.until(status('confirmed'));
    await assertWholeTimeline(tab);
  },

  async 'an order that is nobody’s is not found, and not pending'(tab, { server }) {
    await tab.value("location.hash = '01a20671-2a4e-7f4a-8b66-000000000000'");
    await tab.until("document.getElementById('status').textContent === 'not found'");
    assert.equal(await tab.count('#order[hidden]'), 1);
    assert.equal(await tab.text('summary'), 'An order');
    assert.match(await tab.value('document.title'), /^No such order/);
    await assertNoBarriers(tab, 'an unknown order');
    tab.forgive(404);
    await tab.open(server.url);
  },

  async 'a failed order says why once, and how often it was tried'(tab) {
    const server = await startServer({ failRate: 1, delayMs: 20 });
    await tab.open(server.url);
    await quoted(tab);
    await tab.click('#submit');
    await tab.until(status('failed'));
    await assertWholeTimeline(tab, 20);
    assert.match(await tab.text('outcome'), /^Every attempt failed\. Nothing was traded\./);
    assert.match(await tab.text('outcome'), /output of \d+\.\d+ USDC is below the minimum of \d+\.\d+ USDC/);
    assert.equal(await tab.text('attempt'), 'attempt 3 of 3');
    assert.equal(await tab.count('#timeline .attempt'), 2);
    assert.equal(await tab.count('#timeline .why'), 1, 'the reason is there once');
    assert.match(await tab.text('timeline'), /Attempt 1 failed: The price moved below your minimum\..*Attempt 2 failed, as attempt 1 did/s);
    assert.equal(await tab.text('connection'), '');
    assert.match(await tab.value('document.title'), /^✕ failed/);
    await assertNoBarriers(tab, 'a failed order');
    await tab.value("document.getElementById('order-card').scrollIntoView()");
    await tab.picture('failed');
    await crash(server);
    tab.forgive('away');
  },

  async 'a whale that fails late takes no screens to say so'(tab, state) {
    const server = await startServer({ delayMs: LATE_MS });
    await tab.open(server.url);
    const place = `fetch('/api/orders/execute', { method: 'POST', headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify({ tokenIn: 'SOL', tokenOut: 'USDC', amount: '1000000' }) }).then((answer) => answer.json())`;
    const { orderId } = await tab.value(place);
    await tab.value(`location.hash = '${orderId}'`);
    await tab.until(status('failed'));
    await tab.resize(390, 844, true);
    const text = await tab.text('order-card');
    assert.ok(!/raydium-|meteora-/.test(text), 'ids of pools');
    assert.equal(text.split('No exchange can take the order').length - 1 - await tab.count('#timeline .why'), 1, text);
    const height = await tab.value("document.getElementById('order-card').offsetHeight");
    assert.ok(height < FAILED_HEIGHT_MAX, `${height} px`);
    await assertNoBarriers(tab, 'a failed whale on a phone');
    await tab.picture('failed-narrow');
    await tab.resize(1280, 820);
    await crash(server);
    await tab.open(state.server.url);
    tab.forgive('away');
  },
};
