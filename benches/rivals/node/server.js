#!/usr/bin/env node
// Starts Redis, the API and the worker, prints where the API listens, and ends them all when its input ends.
//
// DATABASE_URL is the database of the orders, SLOTS how many the worker executes at a time. REDIS_FSYNC says when
// Redis syncs its append-only file: everysec, as most run it, or always.
import { fork, spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';

const children = [];
const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'rival-node-'));

async function startRedis() {
  const port = await freePort();
  const redis = spawn('redis-server', [
    '--port', port, '--bind', '127.0.0.1', '--save', '', '--dir', folder,
    '--appendonly', 'yes', '--appendfsync', process.env.REDIS_FSYNC ?? 'everysec',
  ], { stdio: 'ignore' });
  // Waits until this process is gone, however it ends.
  const end = 'trap "" INT TERM; cat >/dev/null; kill "$0" 2>/dev/null; rm -rf "$1"';
  const watchdog = spawn('sh', ['-c', end, redis.pid, folder], { stdio: ['pipe', 'ignore', 'inherit'] });
  children.push(redis);
  watch('Redis', redis);
  for (const deadline = Date.now() + 20_000; !(await answers(port));) {
    if (Date.now() > deadline) throw new Error('Redis does not start');
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  return { url: `redis://127.0.0.1:${port}`, watchdog };
}

async function freePort() {
  const server = net.createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  return String(port);
}

function answers(port) {
  return new Promise((resolve) => {
    const socket = net.connect(port, '127.0.0.1', () => socket.end('PING\r\n'));
    socket.on('data', (data) => resolve(data.toString().startsWith('+PONG')));
    socket.on('error', () => resolve(false));
  });
}

/** Starts a part of the program, and returns it with its first message. */
async function start(file, env) {
  // Standard output is for the one line that says where the API listens.
  const child = fork(path.join(import.meta.dirname, file), { env, stdio: ['ignore', 2, 2, 'ipc'] });
  children.push(child);
  watch(file, child);
  const [message] = await once(child, 'message');
  return message;
}

let ending = false;

/** Ends everything if a part ends by itself. */
function watch(name, child) {
  child.on('error', (error) => end(1, `${name}: ${error}`));
  child.on('exit', (code, signal) => end(1, `${name} ended: ${code ?? signal}`));
}

async function end(code, reason) {
  if (ending) return;
  ending = true;
  if (reason) console.error(reason);
  const running = children.filter((child) => child.pid && child.exitCode === null && child.signalCode === null);
  const gone = running.map((child) => once(child, 'exit'));
  for (const child of running) child.kill();
  await Promise.all(gone);
  fs.rmSync(folder, { recursive: true, force: true });
  process.exit(code);
}

process.on('SIGTERM', () => end(0));
process.on('SIGINT', () => end(0));
process.stdin.on('end', () => end(0)).resume();

const { url } = await startRedis();
const env = { ...process.env, REDIS_URL: url, NODE_ENV: 'production' };
const address = await start('api.js', env);
await start('worker.js', env);
console.log(`listening on ${address}`);
