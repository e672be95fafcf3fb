// The client against the real server: answers that are lost, crashes in the middle of streams, keys.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { inspect } from 'node:util';

import { Client, InDoubt, Refused, SettingsError, Unreachable } from '../src/index.js';
import { Parser } from '../src/sse.js';
import { Network, Site, binary } from './server.js';

const FORM = { amount: '1.5', tokenIn: 'SOL', tokenOut: 'USDC' };

const site = new Site(['--sim-delay-ms', '20']);
const network = new Network();
before(async () => {
  await site.start();
  await network.start(site.port);
});
after(async () => {
  network.end();
  await site.end();
});

const direct = () => new Client({ url: site.url });

async function numberOf(userId) {
  return (await direct().orders({ userId, limit: 200 })).orders.length;
}

/** Loses the answer of the first POST, or answers it by a number. */
function once(decision) {
  let left = 1;
  network.decide = ({ method }) => (method === 'POST' && left-- > 0 ? decision : undefined);
}

function assertInOrder(seqs, first = 1) {
  assert.deepEqual(seqs, seqs.map((_, n) => first + n));
}

test('an order whose answer is lost is placed once', async () => {
  once('lose');
  const placed = await new Client({ url: network.url }).place({ ...FORM, userId: 'lost' });
  assert.equal(placed.isReplay, true);
  assert.equal(await numberOf('lost'), 1);
  const named = await direct().orderNamed(placed.clientOrderId, { userId: 'lost' });
  assert.equal(named.orderId, placed.orderId);
});

test('an answer of somebody between is in doubt, and the order is placed once', async () => {
  once(502);
  const client = new Client({ url: network.url });
  assert.equal((await client.place({ ...FORM, userId: 'gateway' })).isReplay, false);
  assert.equal(await numberOf('gateway'), 1);
});

test('who does not repeat is told the key', async () => {
  once('lose');
  const client = new Client({ url: network.url, repeatForMs: 0 });
  const error = await client.place({ ...FORM, userId: 'key' }).catch((it) => it);
  assert.ok(error instanceof InDoubt && error.cause instanceof Unreachable, inspect(error));
  const placed = await client.place({ ...FORM, userId: 'key', clientOrderId: error.key });
  assert.equal(placed.isReplay, true);
  assert.equal(await numberOf('key'), 1);
});

test('an order in doubt is looked up if its repetition is refused', async () => {
  const operator = direct();
  once('lose');
  const placing = new Client({ url: network.url }).place({ ...FORM, userId: 'refused' });
  while ((await numberOf('refused')) === 0) await new Promise(setImmediate);
  await operator.post('/api/operator/pauses', { activity: 'accepting', reason: 'a test' });
  try {
    assert.equal((await placing).isReplay, true);
    const error = await operator.place(FORM).catch((it) => it);
    assert.equal(error.code, 'paused', 'a first request is told at once');
  } finally {
    await operator.post('/api/operator/pauses/end', { activity: 'accepting' });
  }
  assert.equal(await numberOf('refused'), 1);
});

test('each order of a batch is placed once', async () => {
  once('lose');
  const forms = [FORM, { ...FORM, amount: '0' }, { ...FORM, clientOrderId: 'mine' }].map((form) => ({ ...form, userId: 'batch' }));
  const results = await new Client({ url: network.url }).placeAll(forms);
  assert.deepEqual(results.map(({ order, error }) => order?.isReplay ?? error.code), [true, 'invalid-request', true]);
  assert.equal(results[2].order.clientOrderId, 'mine');
  assert.equal(await numberOf('batch'), 2);
  const cancelled = await direct().cancelAll([results[0].order.orderId, 'unknown']);
  assert.equal(cancelled[1].error.code, 'order-not-found');
});

test('an order that was never sent is in no doubt', async () => {
  const gone = await new Site().start();
  await gone.end();
  const client = new Client({ url: gone.url, repeatForMs: 0 });
  const error = await client.place(FORM).catch((it) => it);
  assert.ok(error instanceof Unreachable && !error.mayHaveArrived && error.isPassing, inspect(error));
});

test('every event of an order comes once and in order through crashes', async () => {
  const slow = await new Site(['--sim-delay-ms', '250']).start();
  try {
    const client = new Client({ url: slow.url });
    const placed = await client.place(FORM);
    const interruptions = [];
    const events = await client.follow(placed.orderId, { onInterrupted: (reason) => interruptions.push(reason) });
    const seen = [];
    for await (const event of events) {
      seen.push(event);
      if (event.seq === 2 || event.seq === 4) {
        await slow.kill();
        await slow.start();
      }
    }
    assertInOrder(seen.map(({ seq }) => seq));
    assert.equal(seen.at(-1).status, 'confirmed');
    assert.ok(interruptions.length >= 2, String(interruptions));
    assert.equal(events.lastSeq, seen.length);
    const page = await client.events(placed.orderId);
    assert.deepEqual(page.events, seen);
    // Who has the last event is told that there is no more.
    assert.equal((await (await client.follow(placed.orderId, { after: seen.length })).next()).done, true);
  } finally {
    await slow.end();
  }
});

test('every event of all orders comes once through cuts and a crash', async () => {
  const slow = await new Site(['--sim-delay-ms', '50']).start();
  const cutting = await new Network().start(slow.port);
  try {
    const client = new Client({ url: cutting.url });
    const stream = await client.followAll();
    const begunAt = stream.cursor;
    // Cut before the first event: what happens meanwhile is not missed, because the place is known.
    cutting.cut();
    const placed = await new Client({ url: slow.url }).placeAll([FORM, FORM, FORM]);
    const seqs = new Map(placed.map(({ order }) => [order.orderId, []]));
    let ended = 0;
    for await (const event of stream) {
      seqs.get(event.orderId).push(event.seq);
      if (event.seq === 3) {
        await slow.kill();
        await slow.start();
      }
      if (event.status === 'confirmed') ended += 1;
      if (ended === placed.length) break;
    }
    for (const numbers of seqs.values()) assertInOrder(numbers);
    assert.equal((await stream.next()).done, true, 'a loop that is left ends the stream');
    // Behind a place that was kept, everything comes again.
    const again = new Map();
    for await (const { orderId, seq } of await client.followAll({ after: begunAt })) {
      again.set(orderId, [...(again.get(orderId) ?? []), seq]);
      if ([...again.values()].flat().length === [...seqs.values()].flat().length) break;
    }
    assert.deepEqual(again, new Map([...again.keys()].map((id) => [id, seqs.get(id)])));
    assert.equal(again.size, placed.length);
  } finally {
    cutting.end();
    await slow.end();
  }
});

test('a stream that falls silent is made again', async () => {
  const quiet = await new Site(['--sim-delay-ms', '400']).start();
  try {
    const client = new Client({ url: quiet.url, silenceMaxMs: 100 });
    const placed = await client.place(FORM);
    const reasons = new Set();
    const seqs = [];
    for await (const event of await client.follow(placed.orderId, { onInterrupted: (reason) => reasons.add(reason) })) {
      seqs.push(event.seq);
    }
    assertInOrder(seqs);
    assert.ok(reasons.has('it fell silent'), String([...reasons]));
  } finally {
    await quiet.end();
  }
});

test('a stream ends when nobody wants it any more, and by a refusal', async () => {
  const client = direct();
  const controller = new AbortController();
  const stream = await client.followAll({ signal: controller.signal, userId: 'nobody' });
  const next = stream.next();
  controller.abort();
  assert.equal((await next).done, true);
  const error = await client.follow('0190163d-8694-739b-aea5-966c26f8ad91').catch((it) => it);
  assert.ok(error instanceof Refused && error.code === 'order-not-found');
});

test('every answer is as described', async () => {
  const client = direct();
  const quote = await client.quote({ ...FORM, slippageBps: 100 });
  assert.ok(quote.quotes.length >= 2);
  const form = { ...FORM, slippageBps: 100, quoteId: quote.quoteId, clientOrderId: 'quoted', userId: 'carol' };
  assert.equal((await client.dryRun(form)).amount, '1.5');
  const placed = await client.place(form);
  assert.equal((await client.order(placed.orderId)).minOut, quote.minOut);
  for await (const event of await client.follow(placed.orderId)) assert.equal(event.orderId, placed.orderId);
  const { orders } = await client.orders({ userId: 'carol', status: ['failed', 'confirmed'] });
  assert.equal(orders[0].orderId, placed.orderId);
  assert.equal((await client.cancel(placed.orderId).catch((it) => it)).code, 'too-late');
  assert.ok((await client.pairs()).some(({ tokenIn }) => tokenIn === 'SOL'));
  assert.ok((await client.tokens()).some(({ symbol }) => symbol === 'USDC'));
  assert.ok((await client.time()).unixMs > 0);
  assert.equal((await client.chain()).isSimulated, true);
  const error = await client.quote({ amount: 'x', tokenIn: 'SOL', tokenOut: 'SOL' }).catch((it) => it);
  assert.equal(error.problem.errors.length, 2);
});

test('who asks too often waits as long as the server says', async () => {
  const strict = await new Site(['--address-rate', '2/1']).start();
  try {
    const client = new Client({ url: strict.url });
    for (let n = 0; n < 5; n += 1) await client.time();
    const impatient = new Client({ url: strict.url, repeatForMs: 0 });
    let error;
    while (error === undefined) error = await impatient.time().then(() => undefined, (it) => it);
    assert.equal(error.code, 'too-many-requests');
    assert.ok(error.retryAfterMs >= 1_000);
  } finally {
    await strict.end();
  }
});

test('a key opens the server, is read from everywhere and shown nowhere', async () => {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'order-engine-node-keys-'));
  const keys = path.join(folder, 'keys.json');
  const key = execFileSync(binary, ['keys', 'create', '--api-keys', keys, '--user', 'alice', '--scopes', 'read,trade'])
    .toString().trim().split('\n').at(-1);
  const closed = await new Site(['--api-keys', keys]).start();
  try {
    assert.equal((await new Client({ url: closed.url }).orders().catch((it) => it)).code, 'no-credential');
    const file = path.join(folder, 'cli.toml');
    writeFileSync(file, `# the server\nurl = "${closed.url}"\nkey_file = 'key'\n`);
    writeFileSync(path.join(folder, 'key'), `${key}\n`, { mode: 0o600 });
    process.env.ORDER_ENGINE_CONFIG = file;
    const client = Client.fromEnv();
    const placed = await client.place(FORM);
    const seqs = [];
    for await (const event of await client.follow(placed.orderId)) seqs.push(event.seq);
    assertInOrder(seqs);
    const error = await client.get('/api/operator/stats').catch((it) => it);
    assert.equal(error.code, 'missing-scope');
    chmodSync(path.join(folder, 'key'), 0o644);
    assert.throws(() => Client.fromEnv(), SettingsError, 'others may read it');
    writeFileSync(file, `key = "${key}\n`);
    chmodSync(file, 0o600);
    const unusable = (() => { try { return Client.fromEnv(); } catch (it) { return it; } })();
    const seen = [client, error, unusable].map((it) => `${inspect(it, { showHidden: true, depth: 9 })}${JSON.stringify(it)}`);
    assert.ok(!seen.join().includes(key.slice(-20)));
    const insecure = () => new Client({ url: 'http://trader.example', key });
    assert.throws(insecure, (it) => it instanceof SettingsError && !it.message.includes(key));
  } finally {
    delete process.env.ORDER_ENGINE_CONFIG;
    await closed.end();
    rmSync(folder, { recursive: true });
  }
});

test('events come together from any pieces', () => {
  const bytes = new TextEncoder().encode(
    'retry: 1000\n\n:\n\nid: 1\ndata: {"a":1}\n\nid:2\r\ndata: x\r\ndata: é\r\n\r\ndata: r\r\rdata: cut');
  const expected = [{ id: '1', data: '{"a":1}' }, { id: '2', data: 'x\né' }, { id: undefined, data: 'r' }];
  for (let size = 1; size < bytes.length; size += 1) {
    const parser = new Parser();
    const messages = [];
    for (let at = 0; at < bytes.length; at += size) messages.push(...parser.take(bytes.subarray(at, at + size)));
    assert.deepEqual(messages, expected, `pieces of ${size}`);
  }
});
