// The programs that the test starts: all of them end with it.
'use strict';

const { spawn, spawnSync } = require('node:child_process');
const assert = require('node:assert/strict');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');

const root = path.join(__dirname, '..', '..');
const built = (name) => path.resolve(root, process.env.CARGO_TARGET_DIR ?? 'target', 'debug', name);
const server = process.env.SERVER_BINARY ?? built('order-engine-server');
const venue = process.env.VENUE_BINARY ?? built('sim-venue');
/** How long anything may take before the test is taken to hang. */
const PATIENCE_MS = 60_000;

const scratch = fs.mkdtempSync(path.join(os.tmpdir(), 'order-engine-page-'));
const children = new Set();

function start(command, args, options) {
  const child = spawn(command, args, options);
  children.add(child);
  child.on('exit', () => children.delete(child));
  return child;
}

function within(promise, what, patienceMs = PATIENCE_MS) {
  let timer;
  const patience = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`waited too long for ${what}`)), patienceMs);
  });
  return Promise.race([promise, patience]).finally(() => clearTimeout(timer));
}

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Resolves with the port once a program says on which it listens. */
function listening(child, pattern) {
  const said = new Promise((resolve, reject) => {
    let log = '';
    const read = (chunk) => {
      log += chunk;
      const match = log.match(pattern);
      if (match) resolve(Number(match[1]));
    };
    for (const output of [child.stdout, child.stderr]) output?.on('data', read);
    child.on('error', reject);
    child.on('exit', () => reject(new Error(`a program ended:\n${log}`)));
  });
  return within(said, 'a program that listens');
}

/** Starts the server and resolves once it listens. Without a store it keeps its orders in memory. */
async function startServer({ port = 0, delayMs = 100, store = 'memory:', failRate = 0, args = [] } = {}) {
  const child = start(server, [
    '--port', String(port), '--store', store, '--sim-delay-ms', String(delayMs), '--sim-fail-rate', String(failRate), ...args,
  ], { stdio: ['ignore', 'ignore', 'pipe'] });
  const bound = await listening(child, /listening on http:\/\/[^:]+:(\d+)/);
  return { child, port: bound, url: `http://127.0.0.1:${bound}/` };
}

/** Starts a simulated chain behind JSON-RPC, and returns its URL. */
async function startVenue(...args) {
  const child = start(venue, ['--port', '0', ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
  const port = await listening(child, /listening.*?127\.0\.0\.1:(\d+)/);
  return { child, url: `http://127.0.0.1:${port}` };
}

/** Ends a program without a farewell, as a crash would. */
function crash({ child }) {
  const gone = new Promise((resolve) => child.on('exit', resolve));
  child.kill('SIGKILL');
  return within(gone, 'the end of a program');
}

/** Makes an API key with these scopes, in a file, and returns it. */
function makeKey(file, user, scopes) {
  const made = spawnSync(server, ['keys', 'create', '--user', user, '--scopes', scopes, '--api-keys', file], { encoding: 'utf8' });
  assert.equal(made.status, 0, made.stderr);
  return made.stdout.trim();
}

function revokeKey(file, key) {
  assert.equal(spawnSync(server, ['keys', 'revoke', key.split('_')[1], '--api-keys', file]).status, 0);
}

/** Ends everything that was started, and leaves nothing behind but the pictures. */
async function cleanUp() {
  const gone = [...children].map((child) => new Promise((resolve) => child.on('exit', resolve)));
  for (const child of children) child.kill('SIGKILL');
  await Promise.all(gone);
  // The browser's own children end a moment after it, and write until then.
  for (let tries = 50; tries > 0; tries -= 1) {
    try {
      return fs.rmSync(scratch, { recursive: true, force: true });
    } catch {
      await pause(100);
    }
  }
}

module.exports = { cleanUp, crash, makeKey, pause, revokeKey, root, scratch, server, start, startServer, startVenue, venue, within };
