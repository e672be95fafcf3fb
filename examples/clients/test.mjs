// Runs both clients against the real server: the program, and the page in Chromium, on another origin, while the server crashes.
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import http from 'node:http';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

import { Site } from '../../clients/node/test/server.js';

const here = path.dirname(fileURLToPath(import.meta.url));
const scratch = mkdtempSync(path.join(os.tmpdir(), 'order-engine-older-'));
/** How long anything may take before the test is taken to hang. */
const PATIENCE_MS = 60_000;

async function program() {
  const site = await new Site(['--sim-delay-ms', '20']).start();
  try {
    // Where it finds the package that it needs.
    cpSync(path.join(here, 'order-then-socket.mjs'), path.join(scratch, 'order-then-socket.mjs'));
    symlinkSync(path.join(process.env.CLIENTS_TOOLS, 'node_modules'), path.join(scratch, 'node_modules'));
    const args = [path.join(scratch, 'order-then-socket.mjs'), site.url, '1.5', 'SOL', 'USDC'];
    const out = execFileSync(process.execPath, args, { encoding: 'utf8', timeout: PATIENCE_MS });
    assert.match(out, /^job (\S+), order \1, pending\nconnection: .*\nsubscribed: .*\npending: Order accepted\n[^]*confirmed: .*\nprice [\d.]+, transaction \w+\n$/);
  } finally {
    await site.end();
  }
}

/** A page in Chromium, driven by the DevTools protocol over a pipe. */
class Browser {
  #child;
  #number = 0;
  #waiting = new Map();
  #session;

  async open(url) {
    const args = ['--headless', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--remote-debugging-pipe', `--user-data-dir=${scratch}/chromium`];
    this.#child = spawn('chromium', args, { stdio: ['ignore', 'ignore', 'ignore', 'pipe', 'pipe'] });
    let received = '';
    this.#child.stdio[4].on('data', (chunk) => {
      received += chunk;
      const messages = received.split('\0');
      received = messages.pop();
      for (const text of messages) {
        const { id, result, error } = JSON.parse(text);
        this.#waiting.get(id)?.(error ? { error } : result);
        this.#waiting.delete(id);
      }
    });
    const { targetId } = await this.#send('Target.createTarget', { url });
    ({ sessionId: this.#session } = await this.#send('Target.attachToTarget', { targetId, flatten: true }));
    await this.until("document.readyState === 'complete' && document.querySelector('button') !== null");
  }

  async evaluate(expression) {
    const { error, result, exceptionDetails } = await this.#send('Runtime.evaluate', { expression, returnByValue: true });
    assert.equal(exceptionDetails, undefined, JSON.stringify(exceptionDetails));
    // Between two documents there is nothing to ask.
    return error === undefined ? result.value : undefined;
  }

  /** Waits until an expression holds. */
  async until(expression) {
    const until = Date.now() + PATIENCE_MS;
    while (!(await this.evaluate(expression))) {
      if (Date.now() > until) assert.fail(`waited too long for ${expression}; the page says: ${await this.evaluate('document.body.innerText')}`);
      await new Promise((resolve) => { setTimeout(resolve, 20); });
    }
  }

  async end() {
    if (this.#child === undefined) return;
    const ended = new Promise((resolve) => { this.#child.once('exit', resolve); });
    this.#child.kill();
    await ended;
  }

  #send(method, params) {
    const id = this.#number += 1;
    const message = { id, method, params, ...(this.#session && { sessionId: this.#session }) };
    this.#child.stdio[3].write(`${JSON.stringify(message)}\0`);
    return new Promise((resolve) => { this.#waiting.set(id, resolve); });
  }
}

async function page() {
  const files = http.createServer((request, response) => {
    response.writeHead(200, { 'content-type': 'text/html; charset=utf-8' }).end(readFileSync(path.join(here, 'page.html')));
  });
  await new Promise((resolve) => { files.listen(0, '127.0.0.1', resolve); });
  const origin = `http://127.0.0.1:${files.address().port}`;
  const site = await new Site(['--sim-delay-ms', '250', '--allowed-origin', origin]).start();
  const browser = new Browser();
  try {
    await browser.open(`${origin}/page.html?server=${encodeURIComponent(site.url)}`);
    await browser.evaluate("document.querySelector('button').click()");
    await browser.until("document.querySelectorAll('li').length >= 3");
    await site.kill();
    await site.start();
    await browser.until("document.querySelector('[role=status]').textContent.startsWith('Bought')");
    const lines = await browser.evaluate("[...document.querySelectorAll('li')].map((it) => it.textContent)");
    const { orders: [order] } = await (await fetch(`${site.url}/api/orders`)).json();
    const { events } = await (await fetch(`${site.url}/api/orders/${order.orderId}/events`)).json();
    assert.deepEqual(lines, events.map(({ status, message }) => `${status}: ${message}`), 'each event once and in order');
    assert.equal(await browser.evaluate("document.querySelector('progress').value"), 100);
  } finally {
    await browser.end();
    files.closeAllConnections();
    files.close();
    await site.end();
  }
}

try {
  await Promise.all([program(), page()]);
} finally {
  rmSync(scratch, { recursive: true, maxRetries: 5, retryDelay: 100 });
}
