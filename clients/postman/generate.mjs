// Writes the Postman collection: a request with assertions for each operation of clients/openapi.json, in an order in which each has what it needs.
// Fails if the interface has an operation that is not here.
//
//   node clients/postman/generate.mjs           write it
//   node clients/postman/generate.mjs --check   fail if it is not what would be written
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const here = path.dirname(fileURLToPath(import.meta.url));
const file = path.join(here, 'order-engine.postman_collection.json');
const document = JSON.parse(readFileSync(path.join(here, '../openapi.json'), 'utf8'));

const ORDER = { tokenIn: 'SOL', tokenOut: 'USDC', amount: '1.5', slippageBps: 50 };
const NEW_KEY = "pm.collectionVariables.set('key', pm.variables.replaceIn('{{$guid}}'));";
const keep = (name, value) => `pm.collectionVariables.set('${name}', ${value});`;
const says = (name, condition) => `pm.test('${name}', () => pm.expect(${condition}).to.be.true);`;
const code = (expected) => `pm.test('it says ${expected}', () => pm.expect(answer.code).to.eql('${expected}'));`;

/** A request: its operation, the status that is expected, and what it needs and checks beside that. */
const request = (operation, status, rest = {}) => ({ operation, status, ...rest });
/** A request for a path that is a WebSocket. Postman's requests of HTTP are told so. */
const socket = (operation, rest = {}) => request(operation, 426, { ...rest, tests: [code('upgrade-required')], name: `${operation}: a WebSocket` });

const FOLDERS = {
  Market: [
    request('getTime', 200, { tests: [says('it is a time', 'answer.unixMs > 0')] }),
    request('getChain', 200, { tests: [says('it is a simulation', 'answer.isSimulated')] }),
    request('listTokens', 200, { tests: [says('SOL may be traded', "answer.tokens.some((it) => it.symbol === 'SOL')")] }),
    request('listPairs', 200, { tests: [says('SOL may be sold', "answer.pairs.some((it) => it.tokenIn === 'SOL' && it.tokenOut === 'USDC')")] }),
    request('getQuote', 200, { body: ORDER, tests: [says('there is a route', 'answer.quotes.length > 0 && Number(answer.minOut) > 0'), keep('quoteId', 'answer.quoteId')] }),
  ],
  Orders: [
    request('placeOrder', 200, { name: 'placeOrder: only check it', body: { ...ORDER, dryRun: true }, tests: [says('nothing is placed', 'answer.dryRun && answer.orderId === undefined')] }),
    request('placeOrder', 202, {
      before: NEW_KEY, headers: { 'Idempotency-Key': '{{key}}' }, body: { ...ORDER, quoteId: '{{quoteId}}' },
      tests: [says('it is pending', "answer.status === 'pending' && answer.jobId === answer.orderId"), says('there is a stream', "answer.wsUrl.startsWith('ws')"), keep('orderId', 'answer.orderId')],
    }),
    request('placeOrder', 200, {
      name: 'placeOrder: again, with the same key', headers: { 'Idempotency-Key': '{{key}}' }, body: { ...ORDER, quoteId: '{{quoteId}}' },
      tests: [says('it is the same order', "answer.orderId === pm.collectionVariables.get('orderId')"), says('it was there before', "pm.response.headers.get('Idempotency-Replayed') === 'true'")],
    }),
    request('placeOrder', 409, { name: 'placeOrder: another order with the same key', headers: { 'Idempotency-Key': '{{key}}' }, body: { ...ORDER, amount: '2' }, tests: [code('idempotency-conflict')] }),
    request('placeOrder', 422, { name: 'placeOrder: what is wrong is named', body: { ...ORDER, amount: '-1', tokenOut: 'SOL' }, tests: [code('invalid-request'), says('both fields are', 'answer.errors.length === 2')] }),
    request('getOrder', 200, { tests: [says('it is the order', "answer.orderId === pm.collectionVariables.get('orderId') && answer.tokenIn === 'SOL'")] }),
    request('getOrder', 404, { name: 'getOrder: an unknown one', path: { orderId: '0190163d-8694-739b-aea5-966c26f8ad91' }, tests: [code('order-not-found')] }),
    request('getOrderByClientId', 200, { path: { clientOrderId: '{{key}}' }, tests: [says('it is the order', "answer.orderId === pm.collectionVariables.get('orderId')")] }),
    request('getEvents', 200, {
      name: 'getEvents: all, up to the end', headers: { Accept: 'text/event-stream' }, isText: true,
      tests: [
        "const events = pm.response.text().split('\\n\\n').filter((it) => it.startsWith('id:')).map((it) => JSON.parse(it.split('data: ')[1]));",
        says('each comes once and in order', 'events.every((it, n) => it.seq === n + 1)'),
        says('the order is executed', "events.at(-1).status === 'confirmed' && events.at(-1).progress === 100"),
      ],
    }),
    request('getEvents', 200, { query: { after: '1' }, tests: [says('they follow', 'answer.events[0].seq === 2 && answer.lastSeq === answer.events.at(-1).seq')] }),
    request('listOrders', 200, { query: { status: 'confirmed', limit: '5' }, tests: [says('the newest is the first', "answer.orders[0].orderId === pm.collectionVariables.get('orderId')")] }),
    request('cancelOrder', 409, { name: 'cancelOrder: too late', tests: [code('too-late')] }),
    request('placeOrders', 200, {
      before: NEW_KEY, body: { orders: [{ ...ORDER, clientOrderId: '{{key}}-1' }, { ...ORDER, amount: '0' }, { ...ORDER, clientOrderId: '{{key}}-2' }] },
      tests: [says('each has a result', "answer.results.map((it) => it.httpStatus).join() === '202,422,202'"), keep('orderId', 'answer.results[0].order.orderId'), keep('otherId', 'answer.results[2].order.orderId')],
    }),
    request('cancelOrder', [200, 202, 409], { tests: [says('it is cancelled, or it is too late', "['cancelled', 'pending'].includes(answer.cancel) || answer.code === 'too-late'")] }),
    request('cancelOrders', 200, { body: { orderIds: ['{{otherId}}', 'unknown'] }, tests: [says('each has a result', 'answer.results.length === 2 && answer.results[1].httpStatus === 404')] }),
  ],
  Live: [
    request('issueTicket', 201, { tests: [says('it is good for a while', 'Date.parse(answer.expiresAt) > Date.now() - 60000')] }),
    socket('followOrder'),
    socket('followOrderByQuery', { query: { orderId: '{{orderId}}' } }),
    socket('followAllOrders'),
  ],
  Webhooks: [
    request('createWebhook', 201, { body: { url: '{{webhookUrl}}', events: ['order.confirmed'] }, tests: [says('the secret is shown once', 'answer.secret.length > 20'), keep('webhookId', 'answer.id')] }),
    request('listWebhooks', 200, { tests: [says('it is there, without its secret', "answer.webhooks.some((it) => it.id === pm.collectionVariables.get('webhookId') && !it.secret)")] }),
    request('getWebhook', 200, { tests: [says('it is enabled', "answer.status === 'enabled'")] }),
    request('changeWebhook', 200, { body: { description: 'a description' }, tests: [says('it is changed', "answer.description === 'a description'")] }),
    request('testWebhook', 200, { tests: [says('the receiver answered', 'JSON.stringify(answer).includes("204")')] }),
    request('redeliver', 200, { body: { orderId: '{{firstId}}', seq: 1 }, tests: [says('the receiver answered', 'JSON.stringify(answer).includes("204")')] }),
    request('listDeliveries', 200, { tests: [says('there is a list', 'Array.isArray(answer.deliveries)')] }),
    request('listAllWebhooks', 200, { isOperator: true, query: { status: 'enabled' }, tests: [says('it is there', "answer.webhooks.some((it) => it.id === pm.collectionVariables.get('webhookId') && !it.secret)")] }),
    request('listAnyDeliveries', 200, { isOperator: true, query: { limit: '1' }, tests: [says('there is one', 'answer.deliveries.length === 1')] }),
    request('redeliverAny', 200, { isOperator: true, body: { orderId: '{{firstId}}', seq: 1 }, tests: [says('the receiver answered', 'JSON.stringify(answer).includes("204")')] }),
    request('rotateWebhookSecret', 200, { tests: [says('there is a new secret', 'answer.secret.length > 20')] }),
    request('deleteWebhook', 204),
  ],
  Operations: [
    request('getHealth', 200, { tests: [says('it lives', "answer.status === 'ok'")] }),
    request('getReadiness', 200, { tests: [says('it is ready', "answer.store === 'ok' && answer.queue === 'ok'")] }),
    request('getInterface', 200, { tests: [says('it is OpenAPI 3.1', "answer.openapi.startsWith('3.1')")] }),
    request('listProblems', 200, { tests: [says('there are many', 'answer.problems.length > 20')] }),
    request('getProblem', 200, { path: { code: 'outcome-unknown' }, headers: { Accept: 'application/json' }, isText: true, tests: [says('it is explained', "pm.response.text().includes('outcome-unknown')")] }),
    request('getMetrics', 200, { isOperator: true, isText: true, tests: [says('it is a text of Prometheus', "pm.response.text().includes('# TYPE')")] }),
  ],
  Operators: [
    request('getStats', 403, { name: 'getStats: for operators only', isTrader: true, tests: [code('missing-scope')] }),
    request('getStats', 200, { tests: [says('the store takes writes', 'answer.isWritable && !answer.isHalted')] }),
    request('listAttention', 200, { tests: [says('nothing needs an operator', 'answer.orders.length === 0')] }),
    request('setPause', 200, { body: { activity: 'sending', reason: 'the collection' }, tests: [says('it is set', 'answer.pauses.length === 1')] }),
    request('listPauses', 200, { tests: [says('it is there', "answer.pauses[0].reason === 'the collection'")] }),
    request('endPause', 200, { body: { activity: 'sending' }, tests: [says('it is ended', 'answer.pauses.length === 0')] }),
    request('setPause', 200, { name: 'setPause: of routing, so that an order waits', body: { activity: 'routing', reason: 'the collection' } }),
    request('placeOrder', 202, { name: 'placeOrder: one that waits', isTrader: true, before: NEW_KEY, headers: { 'Idempotency-Key': '{{key}}' }, body: ORDER, tests: [keep('orderId', 'answer.orderId')] }),
    request('viewOrder', 200, { tests: [says('it is whole', "answer.order.orderId === pm.collectionVariables.get('orderId')")] }),
    request('makeOrderDue', 200, { tests: [says('it is the order', "answer.orderId === pm.collectionVariables.get('orderId')")] }),
    request('cancelAnyOrder', 200, { tests: [says('it is cancelled', "answer.cancel === 'cancelled'")] }),
    request('retryOrder', 201, { tests: [says('it is a new one', "answer.orderId !== pm.collectionVariables.get('orderId')"), keep('orderId', 'answer.orderId')] }),
    request('releaseOrder', 409, { tests: [code('not-quarantined')] }),
    request('resolveOrder', 409, { body: { outcome: 'not-executed', note: 'the collection' }, tests: [code('outcome-not-unknown')] }),
    request('endPause', 200, { name: 'endPause: of routing', body: { activity: 'routing' } }),
    request('purge', 200, { body: { olderThanS: 7776000 }, tests: [says('nothing is that old', 'answer.deleted === 0')] }),
    request('halt', 200, { body: { reason: 'the collection' }, tests: [says('accepting and sending are paused', 'answer.pauses.length === 2')] }),
    request('endHalt', 200, { tests: [says('nothing is paused', 'answer.pauses.length === 0')] }),
  ],
};

/** Returns the method, the path and the summary of each operation. */
function operations() {
  const found = new Map();
  for (const [itsPath, item] of Object.entries(document.paths)) {
    for (const [method, operation] of Object.entries(item)) {
      if (operation.operationId) found.set(operation.operationId, { method: method.toUpperCase(), path: itsPath, ...operation });
    }
  }
  return found;
}

function item(folder, wanted, described) {
  const { method, path: template, summary, description } = described;
  const values = { orderId: '{{orderId}}', webhookId: '{{webhookId}}', ...wanted.path };
  const itsPath = template.replace(/\{(\w+)\}/g, (_, name) => values[name]);
  const query = Object.entries(wanted.query ?? {}).map(([key, value]) => ({ key, value }));
  const raw = `{{baseUrl}}${itsPath}${query.length > 0 ? `?${query.map(({ key, value }) => `${key}=${value}`).join('&')}` : ''}`;
  const headers = { ...(wanted.body && { 'Content-Type': 'application/json' }), ...wanted.headers };
  const statuses = [wanted.status].flat();
  const script = [
    `pm.test('it answers ${statuses.join(' or ')}', () => pm.expect(${JSON.stringify(statuses)}).to.include(pm.response.code));`,
    ...(wanted.isText || wanted.status === 204 ? [] : ['const answer = pm.response.json();']),
    ...(wanted.tests ?? []),
  ];
  // The first order is kept: it is executed, and its events may be delivered again.
  if (wanted.operation === 'placeOrder' && wanted.body.quoteId && wanted.status === 202) script.push(keep('firstId', 'answer.orderId'));
  const isOperator = wanted.isOperator ?? (folder === 'Operators' && !wanted.isTrader);
  const event = [{ listen: 'test', script: { type: 'text/javascript', exec: script } }];
  if (wanted.before) event.unshift({ listen: 'prerequest', script: { type: 'text/javascript', exec: [wanted.before] } });
  return {
    name: wanted.name ?? wanted.operation,
    event,
    request: {
      ...(isOperator && { auth: bearer('operatorKey') }),
      method,
      header: Object.entries(headers).map(([key, value]) => ({ key, value })),
      ...(wanted.body && { body: { mode: 'raw', raw: JSON.stringify(wanted.body, null, 2), options: { raw: { language: 'json' } } } }),
      url: { raw, host: ['{{baseUrl}}'], path: itsPath.slice(1).split('/'), ...(query.length > 0 && { query }) },
      description: [summary, description].filter(Boolean).join('\n\n'),
    },
  };
}

function bearer(variable) {
  return { type: 'bearer', bearer: [{ key: 'token', value: `{{${variable}}}`, type: 'string' }] };
}

const known = operations();
const used = new Set();
const folders = Object.entries(FOLDERS).map(([name, requests]) => ({
  name,
  item: requests.map((wanted) => {
    assert.ok(known.has(wanted.operation), `the interface has no operation ${wanted.operation}`);
    used.add(wanted.operation);
    return item(name, wanted, known.get(wanted.operation));
  }),
}));
assert.deepEqual([...known.keys()].filter((id) => !used.has(id)), [], 'these operations are in no request');

const variables = {
  baseUrl: 'http://127.0.0.1:3000', token: '', operatorKey: '', webhookUrl: 'https://receiver.example/hook',
  key: '', quoteId: '', orderId: '', otherId: '', firstId: '', webhookId: '',
};
const collection = {
  info: {
    name: 'order-engine',
    description: 'Every operation of the interface, with assertions, to be run in order. Set `baseUrl`, and at a server with authentication `token` to a key with the '
      + 'scopes read and trade, and `operatorKey` to one with the scope operate.',
    schema: 'https://schema.getpostman.com/json/collection/v2.1.0/collection.json',
  },
  auth: bearer('token'),
  variable: Object.entries(variables).map(([key, value]) => ({ key, value, type: 'string' })),
  item: folders,
};

const text = `${JSON.stringify(collection, null, 1)}\n`;
if (process.argv[2] === '--check') {
  assert.equal(readFileSync(file, 'utf8'), text, 'node clients/postman/generate.mjs writes the collection anew');
} else {
  writeFileSync(file, text);
}
