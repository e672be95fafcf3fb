// Runs the example program of each client, from the packages as they are published, while the server crashes in the middle of the order: each prints
// every event once and in order.
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

import { Site } from './node/test/server.js';

const clients = path.dirname(fileURLToPath(import.meta.url));
const tools = process.env.CLIENTS_TOOLS;
const scratch = mkdtempSync(path.join(os.tmpdir(), 'order-engine-examples-'));
const ORDER = ['1.5', 'SOL', 'USDC'];

/** Packs the package for Node, checks the types of the example with it, and returns how the example is run. */
function nodeExample() {
  const folder = path.join(scratch, 'node');
  const installed = path.join(folder, 'node_modules/order-engine-client');
  mkdirSync(installed, { recursive: true });
  const packed = execFileSync('npm', ['pack', '--silent', '--pack-destination', folder, path.join(clients, 'node')], { encoding: 'utf8' });
  execFileSync('tar', ['--extract', '--gzip', '--strip-components=1', '--directory', installed, '--file', path.join(folder, packed.trim())]);
  writeFileSync(path.join(folder, 'package.json'), '{"type":"module"}');
  cpSync(path.join(clients, 'node/examples/place-and-watch.ts'), path.join(folder, 'place-and-watch.ts'));
  const options = ['--strict', '--noUncheckedIndexedAccess', '--target', 'es2022', '--module', 'nodenext', '--typeRoots',
    path.join(tools, 'node_modules/@types'), '--types', 'node'];
  execFileSync(path.join(tools, 'node_modules/.bin/tsc'), [...options, 'place-and-watch.ts'], { cwd: folder, stdio: 'inherit' });
  return [process.execPath, [path.join(folder, 'place-and-watch.js'), ...ORDER], {}];
}

/** Installs the package for Python, and returns how the example is run. */
function pythonExample() {
  // The tool writes beside the sources, so it gets others.
  const [sources, installed] = [path.join(scratch, 'python'), path.join(scratch, 'site-packages')];
  cpSync(path.join(clients, 'python'), sources, { recursive: true });
  const python = path.join(tools, 'python/bin/python');
  const options = ['install', '--quiet', '--no-deps', '--no-index', '--no-build-isolation', '--target', installed];
  execFileSync(python, ['-m', 'pip', ...options, sources], { stdio: 'inherit' });
  return [python, [path.join(clients, 'python/examples/place_and_watch.py'), ...ORDER], { PYTHONPATH: installed }];
}

function rustExample() {
  const program = path.join(process.env.CARGO_TARGET_DIR, 'debug/examples/place_and_watch');
  assert.ok(existsSync(program), `${program} is missing; cargo build --workspace --all-features --examples makes it`);
  return [program, ORDER, {}];
}

async function watchThroughACrash(name, [program, args, environment]) {
  const site = await new Site(['--sim-delay-ms', '250']).start();
  const child = spawn(program, args, { env: { ...process.env, ...environment, ORDER_ENGINE_URL: site.url } });
  try {
    const seqs = [];
    let out = '';
    let errors = '';
    let crash;
    child.stderr.on('data', (chunk) => { errors += chunk; });
    child.stdout.on('data', (chunk) => {
      out += chunk;
      const lines = out.split('\n');
      out = lines.pop();
      seqs.push(...lines.map((line) => line.match(/^\s*(\d+)\s+\d+% /)?.[1]).filter(Boolean).map(Number));
      if (seqs.includes(3)) crash ??= site.kill().then(() => site.start());
    });
    const code = await new Promise((resolve) => { child.once('close', resolve); });
    await crash;
    assert.equal(code, 0, `${name}: ${errors}`);
    assert.ok(seqs.length >= 7 && crash !== undefined, `${name}: ${seqs}`);
    assert.deepEqual(seqs, seqs.map((_, n) => n + 1), name);
    assert.match(errors, /interrupted: /, name);
  } finally {
    child.kill();
    await site.end();
  }
}

try {
  await Promise.all([
    watchThroughACrash('Rust', rustExample()),
    watchThroughACrash('Node', nodeExample()),
    watchThroughACrash('Python', pythonExample()),
  ]);
} finally {
  rmSync(scratch, { recursive: true });
}
