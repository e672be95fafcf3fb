// Runs the blocks of docs/clients.md, in their order, against the real server, and checks what each prints by the comment behind it. A block of shell sees the
// variables of those before it.
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

import { Site } from './node/test/server.js';

const clients = path.dirname(fileURLToPath(import.meta.url));
const tools = process.env.CLIENTS_TOOLS;
const PATIENCE_MS = 30_000;

const text = readFileSync(path.join(clients, '../docs/clients.md'), 'utf8');
const blocks = [...text.matchAll(/^```(sh|js|python)\n(.*?)^```\n(?:\n<!-- prints: (.*?) -->)?/gms)]
  .map(([, language, code, prints]) => ({ language, code, prints }));
assert.ok(blocks.length > 10, `${blocks.length} blocks`);

/** A shell in which blocks run one after the other. Its input stays open, as a terminal's does, which wscat needs. */
class Shell {
  #out = '';
  #marks = 0;
  #changed = () => {};

  constructor(environment) {
    this.child = spawn('bash', ['--norc'], { env: environment, stdio: ['pipe', 'pipe', 'pipe', 'pipe'] });
    const add = (chunk) => {
      this.#out += chunk;
      this.#changed();
    };
    this.child.stdout.on('data', add);
    this.child.stderr.on('data', add);
    this.child.once('exit', () => this.#changed());
  }

  /** Runs a block, and returns what it prints. Each of its commands must succeed. */
  async run(script) {
    this.#out = '';
    const mark = `done-${this.#marks += 1}`;
    // What reads its input reads none of the commands, but what nobody writes to.
    this.child.stdin.write(`set -e; source ${script} <&3; set +e; echo ${mark}\n`);
    await new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`it does not end:\n${this.#out}`)), PATIENCE_MS);
      this.#changed = () => {
        if (this.#out.includes(mark)) {
          clearTimeout(timer);
          resolve();
        } else if (this.child.exitCode !== null) {
          clearTimeout(timer);
          reject(new Error(`it fails:\n${this.#out}`));
        }
      };
    });
    return this.#out.replace(mark, '');
  }
}

const site = await new Site(['--sim-delay-ms', '20']).start();
const scratch = mkdtempSync(path.join(os.tmpdir(), 'order-engine-docs-'));
mkdirSync(path.join(scratch, 'node_modules'));
symlinkSync(path.join(clients, 'node'), path.join(scratch, 'node_modules/order-engine-client'));
const environment = {
  ...process.env,
  ORDER_ENGINE_URL: site.url,
  PATH: `${path.join(tools, 'node_modules/.bin')}:${process.env.PATH}`,
  PYTHONPATH: path.join(clients, 'python/src'),
};
const shell = new Shell(environment);
try {
  for (const [n, { language, code, prints }] of blocks.entries()) {
    const file = path.join(scratch, `block-${n}.${{ sh: 'sh', js: 'mjs', python: 'py' }[language]}`);
    // The page has the server's usual address.
    writeFileSync(file, code.replace('http://127.0.0.1:3000', site.url));
    const program = { js: process.execPath, python: path.join(tools, 'python/bin/python') }[language];
    const out = language === 'sh' ? await shell.run(file) : execFileSync(program, [file], { env: environment, encoding: 'utf8' });
    if (prints === undefined) continue;
    const isAcrossLines = prints.startsWith('(?s)');
    const expected = new RegExp(prints.replace('(?s)', ''), isAcrossLines ? 's' : '');
    assert.match(out, expected, code);
  }
} finally {
  shell.child.kill();
  await site.end();
  rmSync(scratch, { recursive: true });
}
