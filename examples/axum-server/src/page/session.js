// Requests to the server: the key of the user, and whether the server can be reached. The key is asked for when the
// server wants one, and kept for as long as the tab is open.

import { $, announce, setText } from './dom.js';

const KEY_KEY = 'order-engine.key';
/** How often the server is looked for while it cannot be reached. */
const SEARCH_MS = 1000;

/** The key of the user, an API key or a token. Other tabs do not see it, and it ends with this one. */
export const credential = {
  get() {
    return sessionStorage.getItem(KEY_KEY);
  },
  set(key) {
    if (key) sessionStorage.setItem(KEY_KEY, key);
    else sessionStorage.removeItem(KEY_KEY);
    $('forget-key').hidden = !key;
  },
};

// ---- Whether the server can be reached ---------------------------------------------------------

const backAgain = new Set();
let isReachable = true;

/** Calls back whenever the server is back after it could not be reached. */
export function onBack(listener) {
  backAgain.add(listener);
}

/** Notes whether the server answered. */
export function noteReachable(isSo) {
  if (isSo === isReachable) return;
  isReachable = isSo;
  $('offline').hidden = isSo;
  announce(isSo ? 'The server is back.' : 'The server cannot be reached. Trying again.');
  if (isSo) for (const listener of backAgain) listener();
  else search();
}

async function search() {
  while (!isReachable) {
    await new Promise((resolve) => setTimeout(resolve, SEARCH_MS));
    // A proxy answers for a server that is away, too.
    noteReachable(await fetch('/health', { cache: 'no-store' }).then((response) => response.ok, () => false));
  }
}

// ---- The key -----------------------------------------------------------------------------------

/** The question for a key that is being asked, if any. All requests that need one wait for it. */
let question = null;

/** Asks for a key, and returns when there is one. `refused` is the key that the server did not take, if there was one. */
function askForKey(refused) {
  // Another request was answered later, and a new key has come meanwhile.
  if (refused && credential.get() && credential.get() !== refused) return Promise.resolve();
  question ??= new Promise((resolve) => {
    credential.set(null);
    setText($('key-error'), refused ? 'The server does not take this key: it may have expired.' : '');
    $('key-card').hidden = false;
    document.body.dataset.locked = 'true';
    $('key').focus();
    $('key-form').addEventListener('submit', function take(event) {
      event.preventDefault();
      const key = $('key').value.trim();
      if (!key) return setText($('key-error'), 'Paste a key first.');
      $('key-form').removeEventListener('submit', take);
      $('key').value = '';
      $('key-card').hidden = true;
      delete document.body.dataset.locked;
      credential.set(key);
      question = null;
      return resolve();
    });
  });
  return question;
}

/** Lets the user forget the key, and begins anew. */
export function offerToForget() {
  $('forget-key').hidden = !credential.get();
  $('forget-key').addEventListener('click', () => {
    credential.set(null);
    location.reload();
  });
}

// ---- Requests ----------------------------------------------------------------------------------

/** An answer that is no success. Its `problem` is the server's document. */
export class Refused extends Error {
  constructor(status, problem) {
    super(problem.detail ?? `The server answered ${status}.`);
    this.status = status;
    this.problem = problem;
  }
}

/** Sends a request with the key, if there is one, and asks for one if the server wants one. */
export async function send(path, request = {}) {
  for (;;) {
    const key = credential.get();
    const headers = { ...request.headers, ...(key && { Authorization: `Bearer ${key}` }) };
    let response;
    try {
      response = await fetch(path, { ...request, headers });
    } catch (error) {
      if (error.name !== 'AbortError') noteReachable(false);
      throw error;
    }
    noteReachable(true);
    if (response.status !== 401) return response;
    await askForKey(key);
  }
}

async function answer(response) {
  const body = await response.json().catch(() => ({}));
  if (!response.ok) throw new Refused(response.status, body);
  return body;
}

/** Gets JSON, or throws what the server refused. */
export const get = async (path) => answer(await send(path));

/** Posts JSON, and returns the answer, or throws what the server refused. */
export async function post(path, body = {}, { signal } = {}) {
  const headers = { 'Content-Type': 'application/json' };
  return answer(await send(path, { method: 'POST', headers, body: JSON.stringify(body), signal }));
}

/** Returns a ticket for a socket, which cannot send the key, or nothing if the server wants none. */
export async function newTicket() {
  if (!credential.get()) return undefined;
  const response = await send('/api/tickets', { method: 'POST' });
  return response.ok ? (await response.json()).ticket : undefined;
}

/** Says what went wrong, for people. */
export function reasonOf(error) {
  if (error instanceof Refused) return error.problem.errors?.[0]?.message ?? error.message;
  return 'The server cannot be reached. Trying again is safe.';
}
