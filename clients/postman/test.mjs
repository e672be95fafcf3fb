// Runs the collection by newman against a real server with authentication.
import { execFile, execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import http from 'node:http';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

import { Site, binary } from '../node/test/server.js';

const collection = path.join(path.dirname(fileURLToPath(import.meta.url)), 'order-engine.postman_collection.json');
const newman = path.join(process.env.CLIENTS_TOOLS, 'node_modules/.bin/newman');
const folder = mkdtempSync(path.join(os.tmpdir(), 'order-engine-postman-'));
const keys = path.join(folder, 'keys.json');

function newKey(user, scopes) {
  const options = { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] };
  return execFileSync(binary, ['keys', 'create', '--api-keys', keys, '--user', user, '--scopes', scopes], options).trim();
}

const variables = { token: newKey('alice', 'read,trade'), operatorKey: newKey('olga', 'read,trade,operate') };
const receiver = http.createServer((request, response) => request.resume().on('end', () => response.writeHead(204).end()));
await new Promise((resolve) => { receiver.listen(0, '127.0.0.1', resolve); });
variables.webhookUrl = `http://127.0.0.1:${receiver.address().port}/hook`;
const site = await new Site([
  '--sim-delay-ms', '20', '--api-keys', keys, '--webhook-http', '--webhook-networks', '127.0.0.0/8',
]).start();
variables.baseUrl = site.url;
try {
  const args = Object.entries(variables).flatMap(([name, value]) => ['--env-var', `${name}=${value}`]);
  const run = await new Promise((resolve) => {
    const options = { encoding: 'utf8', maxBuffer: 64 << 20 };
    execFile(newman, ['run', collection, '--color', 'off', '--timeout-request', '20000', ...args], options, (error, stdout) => resolve({ error, stdout }));
  });
  if (run.error) {
    process.stdout.write(run.stdout);
    process.exitCode = 1;
  }
} finally {
  receiver.close();
  receiver.closeAllConnections();
  await site.end();
  rmSync(folder, { recursive: true });
}
