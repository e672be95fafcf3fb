// What those see who trade while all is well.
'use strict';

const assert = require('node:assert/strict');
const { assertNoBarriers, assertWholeTimeline, quoted, status } = require('./checks');

const level = "document.getElementById('order-form').dataset.level";
const noneIsPlaced = async (tab, before) => assert.equal(await tab.count('#recent-rows tr'), before);

module.exports = {
  async 'the form offers the tokens and shows a quote with all that it costs'(tab, { server }) {
    await tab.open(server.url);
    await quoted(tab);
    assert.equal(await tab.text('chain'), 'a simulated chain');
    assert.match(await tab.text('rate'), /^1 SOL = \d+(\.\d{1,4})? USDC$/);
    assert.match(await tab.text('impact'), /^0\.\d\d\s%$/);
    assert.match(await tab.text('chain-fee'), /^0\.0\d+ USDC$/);
    assert.match(await tab.text('least'), /^\d+(\.\d{1,4})? USDC$/);
    assert.match(await tab.text('receive'), /^\d+(\.\d{1,4})?$/);
    assert.ok(await tab.count('.candidate') >= 2);
    // Two routes of one exchange can be told apart.
    const routes = await tab.value("[...document.querySelectorAll('.candidate')].map((row) => row.children[0].textContent + row.children[1].textContent)");
    assert.equal(new Set(routes).size, routes.length);
    assert.equal(await tab.count('.route-drawing svg[role=img][aria-label^="The route"]'), 1);
    await assertNoBarriers(tab, 'the start');
    await tab.picture('start');
  },

  async 'a quote gets old and is replaced by itself'(tab) {
    assert.match(await tab.text('age-text'), /^Price \d+ s old, new in \d+ s$/);
    const quotes = "performance.getEntriesByType('resource').filter(({ name }) => name.endsWith('/api/quote')).length";
    const before = await tab.value(quotes);
    await tab.until(`${quotes} > ${before} && document.getElementById('age-text').textContent.startsWith('Price 0 s')`);
  },

  async 'what is wrong is said at its field until it is mended'(tab) {
    await tab.fill('amount', '1,5');
    assert.match(await tab.text('amount-error'), /^Decimals stand behind a point:Use 1\.5$/);
    assert.equal(await tab.value("document.getElementById('amount').getAttribute('aria-invalid')"), 'true');
    await assertNoBarriers(tab, 'a wrong amount');
    await tab.picture('invalid');
    await tab.click('#amount-error .mend');
    assert.equal(await tab.value("document.getElementById('amount').value"), '1.5');
    assert.equal(await tab.text('amount-error'), '');
    assert.equal(await tab.value("document.getElementById('amount').getAttribute('aria-invalid')"), null);
    for (const [text, said] of [['-1', /greater than zero/], ['0', /greater than zero/], ['1e3', /in digits/], ['1.1234567891', /9 decimals/], ['1,234,567', /without commas/]]) {
      await tab.fill('amount', text);
      assert.match(await tab.text('amount-error'), said);
    }
    await tab.fill('amount', '');
    assert.equal(await tab.text('amount-error'), '', 'nobody is told off while they type');
    await tab.click('#submit');
    await tab.until("document.getElementById('amount-error').textContent.includes('how much you sell')");
    assert.equal(await tab.value('document.activeElement.id'), 'amount');
    await noneIsPlaced(tab, 0);
    await tab.fill('slippage', '0,7');
    assert.match(await tab.text('slippage-error'), /Use 0\.7/);
    await tab.click('.presets label:nth-child(2)');
    assert.equal(await tab.value("document.getElementById('slippage').value"), '0.5');
    await tab.fill('amount', '1.5');
    await quoted(tab);
    assert.equal(await tab.text('amount-error') + await tab.text('slippage-error'), '');
  },

  async 'tokens are searched by keyboard, and never sold for themselves'(tab) {
    await tab.value("document.getElementById('token-out').focus()");
    await tab.press('ArrowDown');
    assert.equal(await tab.count('#token-out-list [role=option]'), 5);
    assert.equal(await tab.value("document.getElementById('token-out').getAttribute('aria-expanded')"), 'true');
    await assertNoBarriers(tab, 'the open list');
    await tab.fill('token-out', 'et');
    assert.equal(await tab.count('#token-out-list [role=option]'), 1);
    await tab.press('Enter');
    assert.equal(await tab.value("document.getElementById('token-out').value"), 'ETH');
    assert.equal(await tab.count('#token-out-list[hidden]'), 1);
    // A mint finds its token, and the token of the other side swaps the two.
    await tab.fill('token-out', 'So111');
    await tab.press('Enter');
    assert.deepEqual(await tab.value("['token-in', 'token-out'].map((id) => document.getElementById(id).value)"), ['ETH', 'SOL']);
    await tab.fill('token-out', 'nothing');
    assert.equal(await tab.text('token-out-list'), 'No such token');
    await tab.press('Escape');
    assert.equal(await tab.value("document.getElementById('token-out').value"), 'SOL');
    await tab.click('#flip');
    await tab.fill('token-out', 'usdc');
    await tab.press('Enter');
    assert.deepEqual(await tab.value("['token-in', 'token-out'].map((id) => document.getElementById(id).value)"), ['SOL', 'USDC']);
    await quoted(tab);
  },

  async 'an order runs to confirmed before the eyes of its owner'(tab) {
    await tab.fill('amount', '2.5');
    await quoted(tab);
    // A machine that is busy may not let us look in time, so the page's title is noted whenever it changes.
    await tab.value(`window.titles = []; new MutationObserver(() => titles.push(document.title)).observe(document.querySelector('title'), { childList: true })`);
    // By keyboard alone.
    await tab.press('Enter');
    await tab.until("document.querySelectorAll('#timeline [data-seq]').length > 3");
    await tab.picture('live');
    await tab.until(status('confirmed'));
    assert.equal(await tab.value("document.getElementById('progress').value"), 100);
    await assertWholeTimeline(tab);
    const facts = await tab.text('facts');
    for (const fact of ['Order', 'Exchange', 'At least', 'Transaction', 'Price']) assert.ok(facts.includes(fact), facts);
    assert.match(await tab.text('outcome'), /^Received \d+(\.\d+)? USDC/);
    assert.equal(await tab.value('document.activeElement.id'), 'order-title');
    const titles = await tab.value('titles');
    assert.ok(titles.some((title) => /^\d+ % building · 2\.5 SOL → USDC/.test(title)), `${titles}`);
    assert.equal(await tab.value('document.title'), '✓ confirmed · 2.5 SOL → USDC · order-engine');
    assert.equal(await tab.text('connection'), '');
    assert.equal(await tab.text('announcements'), 'Order 2.5 SOL → USDC: confirmed.');
    assert.equal(await tab.count('#recent-rows tr'), 1);
    assert.equal(await tab.count('#cancel[hidden]'), 1);
    await assertNoBarriers(tab, 'a confirmed order');
    await tab.value('scrollTo(0, 0)');
    await tab.picture('confirmed');
    await tab.scheme('dark');
    await tab.picture('dark');
    await tab.scheme('light');
  },

  async 'ids are copied, and lead to the explorer of the chain'(tab, { browser, server }) {
    await browser.call('Browser.grantPermissions', { permissions: ['clipboardReadWrite', 'clipboardSanitizedWrite'] });
    await tab.call('Page.bringToFront');
    await tab.click('#facts .copy');
    await tab.until("document.querySelector('#facts .copy').dataset.copied === 'true'");
    assert.equal(await tab.value('navigator.clipboard.readText()'), await tab.value('location.hash.slice(1)'));
    assert.equal(await tab.count('#facts a'), 0, 'the simulated chain has no explorer');
    // The answer is the server's but for the URL, which only chains with nodes have.
    await tab.call('Fetch.enable', { patterns: [{ urlPattern: '*/api/chain' }] });
    const fulfil = ({ requestId }) => tab.call('Fetch.fulfillRequest', {
      requestId, responseCode: 200, responseHeaders: [{ name: 'Content-Type', value: 'application/json' }],
      body: Buffer.from('{"name":"a chain","isSimulated":false,"explorer":"https://explorer.example/tx/{tx}"}').toString('base64'),
    });
    tab.on('Fetch.requestPaused', fulfil);
    await tab.reload();
    await tab.until("document.querySelector('#facts a')?.href.startsWith('https://explorer.example/tx/')");
    assert.equal(await tab.value("document.querySelector('#facts a').rel"), 'noopener noreferrer');
    await tab.call('Fetch.disable');
    await tab.open(server.url);
  },

  async 'from 1 % on the page warns, and takes the order'(tab) {
    await tab.fill('amount', '4000');
    await tab.until(`${level} === 'warn'`);
    assert.match(await tab.text('warning-title'), /^You get 2\.\d\d\s% less than the market's price\.$/);
    assert.match(await tab.text('submit'), /^Place order 2\.\d\d\s% below market$/);
    assert.match(await tab.text('receive'), /^\d{3}\u202f\d{3}(\.\d{1,2})?$/);
    await assertNoBarriers(tab, 'a warned order');
    await tab.value('scrollTo(0, 0)');
    await tab.picture('warned');
    await tab.click('#submit');
    await tab.until(status('confirmed'));
    assert.equal(await tab.count('dialog[open]'), 0);
  },

  async 'from 3 % on the page asks again'(tab, { server }) {
    const before = await tab.count('#recent-rows tr');
    await tab.fill('amount', '20000');
    await tab.until(`${level} === 'ask'`);
    assert.match(await tab.text('submit'), /^Review: /);
    await tab.click('#submit');
    await tab.until("document.getElementById('confirm').open");
    assert.match(await tab.text('confirm-title'), /^Lose \d+\.\d+\s% to the price\?$/);
    assert.equal(await tab.value("document.getElementById('confirm-yes').disabled"), true);
    assert.equal(await tab.value('document.activeElement.id'), 'confirm-no');
    await assertNoBarriers(tab, 'the question');
    await tab.picture('asked');
    await tab.press('Escape');
    await tab.until("!document.getElementById('confirm').open");
    await noneIsPlaced(tab, before);
    assert.equal(await tab.value("document.activeElement.id"), 'submit', 'the focus is where it was');
    await tab.click('#submit');
    await tab.until("document.getElementById('confirm').open");
    await tab.click('#confirm-tick');
    await tab.click('#confirm-yes');
    await tab.until("document.getElementById('summary').textContent === '20\u202f000 SOL → USDC'");
    await tab.until(status('confirmed'));
    // Without the page's question the server's own limit holds.
    const refused = `fetch('${server.url}api/orders/execute', { method: 'POST', headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify({ tokenIn: 'SOL', tokenOut: 'USDC', amount: '20000' }) }).then(async (answer) => [answer.status, (await answer.json()).code])`;
    assert.deepEqual(await tab.value(refused), [422, 'price-impact-too-high']);
    tab.forgive(422);
  },

  async 'a whale is refused, with the reasons and with what would be taken'(tab) {
    const before = await tab.count('#recent-rows tr');
    await tab.fill('amount', '1000000');
    await tab.until(`${level} === 'stop'`);
    assert.equal(await tab.count('.candidate.refused'), await tab.count('.candidate'));
    await tab.click('#submit');
    await tab.until("document.getElementById('form-error').textContent.includes('No exchange can take the order')");
    assert.match(await tab.text('form-error'), /Meteora: Its price impact is \d+\.\d\s%, more than 3\.00\s%/);
    assert.equal(await tab.count('#form-error li'), 2, 'one reason an exchange');
    await tab.until("document.querySelector('#amount-error .mend')");
    await assertNoBarriers(tab, 'a refused order');
    await tab.picture('refused');
    await noneIsPlaced(tab, before);
    tab.forgive(422);
    await tab.click('#amount-error .mend');
    await quoted(tab);
    assert.equal(await tab.text('form-error'), '');
    assert.notEqual(await tab.value(level), 'stop');
    await tab.fill('amount', '1.5');
    await quoted(tab);
  },

  async 'an order whose answer is lost is placed once'(tab) {
    await tab.fill('amount', '1.23');
    await quoted(tab);
    // The server takes the order, and the browser never hears of it.
    await tab.call('Fetch.enable', { patterns: [{ urlPattern: '*/api/orders/execute', requestStage: 'Response' }] });
    tab.on('Fetch.requestPaused', ({ requestId }) => tab.call('Fetch.failRequest', { requestId, errorReason: 'ConnectionReset' }));
    await tab.click('#submit');
    await tab.until("document.getElementById('form-error').textContent.includes('cannot be reached')");
    await tab.call('Fetch.disable');
    await tab.until("document.getElementById('offline').hidden && !document.getElementById('terms').hidden");
    const placed = "[...document.querySelectorAll('#recent-rows .choose')].filter(({ textContent }) => textContent === '1.23 SOL → USDC').length";
    await tab.until(`${placed} === 1`);
    // Meanwhile the price is another one.
    await tab.click('#requote');
    await tab.click('#submit');
    await tab.until("document.getElementById('summary').textContent === '1.23 SOL → USDC'");
    await tab.until(status('confirmed'));
    assert.equal(await tab.value(placed), 1);
    assert.equal(await tab.text('form-error'), '');
    tab.forgive('away');
  },

  async 'two tabs and several orders at once are live'(tab, { browser, server }) {
    const other = await browser.tab();
    await other.open(server.url);
    const known = await tab.count('#recent-rows tr');
    await other.until(`document.querySelectorAll('#recent-rows tr').length === ${known}`);
    await tab.fill('amount', '3.25');
    await quoted(tab);
    await tab.click('#submit');
    await other.until(`document.querySelectorAll('#recent-rows tr').length === ${known + 1}`);
    await other.click('#recent-rows tr:first-child .choose');
    await other.until("document.getElementById('summary').textContent === '3.25 SOL → USDC'");
    await Promise.all([tab.until(status('confirmed')), other.until(status('confirmed'))]);
    await assertWholeTimeline(other);
    const place = (amount) => `fetch('/api/orders/execute', { method: 'POST', headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify({ tokenIn: 'USDC', tokenOut: 'SOL', amount: '${amount}' }) }).then((answer) => answer.status)`;
    assert.deepEqual(await tab.value(`Promise.all([${['11', '12', '13'].map(place)}])`), [202, 202, 202]);
    const isDone = `['11', '12', '13'].every((amount) => [...document.querySelectorAll('#recent-rows tr')].some(({ textContent }) =>
      textContent.includes(amount + ' USDC → SOL') && textContent.includes('confirmed')))`;
    await Promise.all([tab.until(isDone), other.until(isDone)]);
    assert.deepEqual(other.complaints, []);
    await other.close();
  },

  async 'a placed order is in view on a phone, and has the focus'(tab) {
    await tab.resize(390, 844, true);
    await assertNoBarriers(tab, 'a phone');
    await tab.fill('amount', '1.75');
    await quoted(tab);
    await tab.click('#submit');
    await tab.until("document.getElementById('summary').textContent === '1.75 SOL → USDC'");
    await tab.until("document.activeElement.id === 'order-title'");
    await tab.until(`(() => {
      const { top, bottom } = document.getElementById('order-title').getBoundingClientRect();
      const progress = document.getElementById('progress').getBoundingClientRect();
      return top >= 0 && bottom < innerHeight && progress.bottom < innerHeight;
    })()`);
    await tab.until(status('confirmed'));
    await assertNoBarriers(tab, 'a confirmed order on a phone');
    await tab.picture('narrow');
    await tab.resize(320, 640, true);
    await assertNoBarriers(tab, 'a narrow phone');
    await tab.resize(1280, 820);
  },
};
