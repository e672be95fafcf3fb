// What those see whom the server asks who they are.
'use strict';

const assert = require('node:assert/strict');
const path = require('node:path');
const { assertNoBarriers, assertWholeTimeline, quoted, status } = require('./checks');
const { crash, makeKey, pause, revokeKey, scratch, startServer } = require('./processes');

const isAsked = "document.getElementById('key-card')?.hidden === false";

module.exports = {
  async 'a server that wants a key is asked with one, which stays in the tab'(tab) {
    const file = path.join(scratch, 'keys.json');
    const key = makeKey(file, 'alice', 'read,trade');
    const guarded = await startServer({ args: ['--api-keys', file] });
    await tab.call('Page.navigate', { url: guarded.url });
    await tab.until(isAsked);
    await assertNoBarriers(tab, 'the question for the key');
    await tab.picture('key');
    await tab.fill('key', 'oek_0123456789abcdef_wrong');
    await tab.click('#key-form button');
    await tab.until(`${isAsked} && document.getElementById('key-error').textContent !== ''`);
    await tab.fill('key', key);
    await tab.click('#key-form button');
    await tab.until("document.body?.dataset.ready === 'true'");
    await tab.until("document.getElementById('stream').textContent === 'live'");
    await tab.fill('amount', '3');
    await quoted(tab);
    await tab.click('#submit');
    await tab.until(status('confirmed'));
    await assertWholeTimeline(tab);
    assert.equal(await tab.value("sessionStorage.getItem('order-engine.key')"), key);
    assert.equal(await tab.value('JSON.stringify({ ...localStorage }).includes("oek_")'), false);
    await assertNoBarriers(tab, 'with a key');
    // The operators' page takes the same key, which may not operate.
    await tab.open(`${guarded.url}operate`);
    assert.match(await tab.text('forbidden-text'), /scope operate/);
    assert.equal(await tab.count('#desktop[hidden]'), 1);
    await assertNoBarriers(tab, 'a key that may not operate');
    tab.forgive(403);
    await tab.open(guarded.url);
    await tab.until("document.querySelector('#recent-rows .choose').textContent === '3 SOL → USDC'");
    // Once the key is revoked, the page asks for another: it asks the server for quotes by itself.
    revokeKey(file, key);
    while (!(await tab.value(isAsked))) {
      await tab.value("document.getElementById('requote').click()");
      await pause(250);
    }
    await tab.call('Page.navigate', { url: 'about:blank' });
    await crash(guarded);
    tab.forgive(401);
  },
};
