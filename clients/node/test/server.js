// The real server as a process, and a network in front of it that loses answers on request.
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import http from 'node:http';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../../..');
export const binary = process.env.SERVER_BINARY
  ?? path.resolve(root, process.env.CARGO_TARGET_DIR ?? 'target', 'debug/order-engine-server');

const running = new Set();
// However the tests end, their servers do.
process.on('exit', () => running.forEach((child) => child.kill('SIGKILL')));
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit(1));

/** A server whose orders outlive it. */
export class Site {
  #folder = mkdtempSync(path.join(os.tmpdir(), 'order-engine-node-'));
  #args;
  #child;
  port = 0;

  constructor(args = []) {
    this.#args = args;
  }

  get url() {
    return `http://127.0.0.1:${this.port}`;
  }

  async start() {
    const args = [
      '--port', String(this.port), '--store', `sqlite:${this.#folder}/orders.db`, '--sim-ledger', `${this.#folder}/ledger.jsonl`,
      '--sim-fail-rate', '0', '--lease-ms', '1000', ...this.#args,
    ];
    this.#child = spawn(binary, args, { stdio: ['ignore', 'ignore', 'pipe'] });
    running.add(this.#child);
    let log = '';
    this.port = await new Promise((resolve, reject) => {
      this.#child.stderr.on('data', (chunk) => {
        log += chunk;
        const port = log.match(/listening on http:\/\/[^:]+:(\d+)/)?.[1];
        if (port !== undefined) resolve(Number(port));
      });
      this.#child.once('exit', () => reject(new Error(`the server ended:\n${log}`)));
      this.#child.once('error', reject);
    });
    return this;
  }

  /** Ends the server without a farewell, as a crash would. */
  async kill() {
    const ended = new Promise((resolve) => { this.#child.once('exit', resolve); });
    this.#child.kill('SIGKILL');
    await ended;
    running.delete(this.#child);
  }

  async end() {
    await this.kill();
    rmSync(this.#folder, { recursive: true });
  }
}

/** A proxy in front of a server that does what a test wants of each request. */
export class Network {
  #server;
  /** Is asked about each request: `lose` passes it on and breaks the connection, a number is answered in the server's place. */
  decide = () => undefined;
  requests = [];

  async start(port) {
    this.#server = http.createServer((request, response) => this.#pass(request, response, port));
    await new Promise((resolve) => { this.#server.listen(0, '127.0.0.1', resolve); });
    return this;
  }

  get url() {
    return `http://127.0.0.1:${this.#server.address().port}`;
  }

  /** Breaks all connections. */
  cut() {
    this.#server.closeAllConnections();
  }

  end() {
    this.cut();
    this.#server.close();
  }

  async #pass(request, response, port) {
    const chunks = [];
    for await (const chunk of request) chunks.push(chunk);
    const body = Buffer.concat(chunks);
    this.requests.push({ method: request.method, path: request.url, body: body.toString() });
    const decision = this.decide(request);
    if (typeof decision === 'number') {
      response.writeHead(decision, { 'content-type': 'text/html' }).end('<html>');
      return;
    }
    const options = { host: '127.0.0.1', port, method: request.method, path: request.url, headers: request.headers };
    const onward = http.request(options, (answer) => {
      if (decision === 'lose') {
        answer.resume();
        answer.on('end', () => response.destroy());
        return;
      }
      response.writeHead(answer.statusCode, answer.headers);
      response.flushHeaders();
      answer.pipe(response);
      answer.on('error', () => response.destroy());
      response.on('close', () => answer.destroy());
    });
    onward.on('error', () => response.destroy());
    onward.end(body);
  }
}
