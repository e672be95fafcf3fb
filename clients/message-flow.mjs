// Draws docs/message-flow.md from a recorded run: the requests, the answers and the frames of one order at the real server.
//
//   node clients/message-flow.mjs           record, and write the page
//   node clients/message-flow.mjs --check   record, and fail if the page has other messages
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

import { Site } from './node/test/server.js';

const WebSocket = createRequire(path.join(process.env.CLIENTS_TOOLS, 'package.json'))('ws');
const page = path.join(path.dirname(fileURLToPath(import.meta.url)), '../docs/message-flow.md');

/** What is recorded, as lines of the diagram. */
const lines = [];
let url;

async function call(method, itsPath, body, headers = {}) {
  const shown = [...Object.entries(headers).map(([name, value]) => `${name}: ${value}`), ...(body ? [JSON.stringify(body)] : [])];
  lines.push(`C->>S: ${method} ${itsPath}${shown.length > 0 ? `<br>${shown.join('<br>')}` : ''}`);
  const type = body ? { 'content-type': 'application/json' } : {};
  const response = await fetch(url + itsPath, { method, body: body && JSON.stringify(body), headers: { ...type, ...headers } });
  const answer = await response.json();
  const replayed = response.headers.has('idempotency-replayed') ? '<br>Idempotency-Replayed: true' : '';
  lines.push(`S-->>C: ${response.status} ${response.statusText}${replayed}<br>${fields(answer)}`);
  return answer;
}

/** Follows a stream to its end. */
async function follow(itsPath) {
  lines.push(`C->>S: GET ${itsPath}<br>Upgrade: websocket`, 'S-->>C: 101 Switching Protocols');
  await new Promise((resolve, reject) => {
    const socket = new WebSocket(url.replace('http', 'ws') + itsPath);
    socket.on('message', (data) => {
      const frame = JSON.parse(data);
      // What the chain tells between sending and the end depends on when somebody looks.
      if (frame.progress !== 85 && frame.progress !== 90) lines.push(`S-)C: ${shown(frame)}`);
    });
    socket.on('close', (code) => {
      lines.push(`S-)C: close ${code}`);
      resolve();
    });
    socket.on('error', reject);
  });
}

function shown({ type, seq, progress, message, status, orderId, timestamp, attempt, maxAttempts, ...adds }) {
  // What is left out has numbers too, so those behind it differ.
  const number = progress > 80 ? 'n' : seq;
  const place = seq === undefined ? '' : `, seq ${number}, ${progress} %`;
  const added = Object.keys(adds).length > 0 ? `<br>with ${Object.keys(adds).join(', ')}` : '';
  // Which exchange is the best depends on the moment.
  return `${type}${place}<br>${message.replace(/^Best route: .*/, 'Best route: {dex}')}${added}`;
}

/** Returns what an answer has: the values that are the same in every run, and the names of the others. */
function fields(answer) {
  const same = ['status', 'clientOrderId', 'attempt'];
  return Object.entries(answer).map(([name, value]) => (same.includes(name) && value !== null ? `${name}: ${value}` : name)).join(', ');
}

const site = await new Site(['--sim-delay-ms', '100']).start();
url = site.url;
const order = { tokenIn: 'SOL', tokenOut: 'USDC', amount: '1.5', slippageBps: 50 };
const key = { 'Idempotency-Key': 'my-first-order' };
try {
  await call('POST', '/api/quote', order);
  const { orderId } = await call('POST', '/api/orders/execute', order, key);
  await follow(`/ws/orders/${orderId}`);
  await call('POST', '/api/orders/execute', order, key);
  await call('GET', `/api/orders/status/${orderId}`);
  for (const [n, line] of lines.entries()) {
    // Semicolons and number signs end a message of the diagram.
    lines[n] = line.replaceAll(orderId, '{orderId}').replaceAll('#', '').replaceAll(';', ',');
  }
} finally {
  await site.end();
}

const drawn = ['sequenceDiagram', ...['participant C as Client', 'participant S as Server', ...lines].map((line) => `    ${line}`)].join('\n');
const text = `# The messages of an order

Drawn from a recorded run of the server on its simulated chain by \`node clients/message-flow.mjs\`; \`scripts/clients-test\` records another one and compares. Ids are
replaced and times left out, and so is which exchange was the best. Of an answer the diagram has the names of its fields, and the values that are the same in every run. What a chain tells between
sending and the end (\`progress\` 85 and 90) is left out, because it depends on when somebody looks.

\`\`\`mermaid
${drawn}
\`\`\`

- Between the answer to the \`POST\` and the WebSocket the order goes on; its stream begins with the first event all the same.
- If the answer to the \`POST\` is lost, the same request with the same key has the same \`orderId\`: here it comes after the end of the order.
- If the WebSocket breaks, \`/ws/orders/{orderId}?after={seq}\` goes on behind the last event. [clients.md](clients.md) says how the libraries do both by themselves.
`;
if (process.argv[2] === '--check') {
  assert.equal(readFileSync(page, 'utf8'), text, 'node clients/message-flow.mjs draws the page anew');
} else {
  writeFileSync(page, text);
}
