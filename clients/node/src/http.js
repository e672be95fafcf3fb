// Calls the server.
import { Refused, Unexpected, Unreachable } from './errors.js';

/** How long the server may take to answer. */
const ANSWER_TIME_MAX_MS = 30_000;
/** What happens before a request is sent. */
const NOT_SENT = new Set([
  'ECONNREFUSED', 'ENOTFOUND', 'EAI_AGAIN', 'EHOSTUNREACH', 'ENETUNREACH', 'UND_ERR_CONNECT_TIMEOUT',
]);

/** The way to one server. */
export class Http {
  #url;
  #headers;

  constructor(url, key) {
    this.#url = url;
    this.#headers = { 'user-agent': 'order-engine-client-node/0.1.0' };
    if (key !== undefined) this.#headers.authorization = `Bearer ${key}`;
  }

  get url() {
    return this.#url;
  }

  /** Calls the server. Returns the answer's headers and its text. */
  async call(method, path, body, timeMs = ANSWER_TIME_MAX_MS) {
    const signal = AbortSignal.timeout(timeMs);
    const headers = body === undefined ? {} : { 'content-type': 'application/json' };
    const response = await this.#fetch(path, { method, body, headers, signal });
    let text;
    try {
      text = await response.text();
    } catch (error) {
      throw new Unreachable(this.#url, reasonOf(error), true);
    }
    if (!response.ok) throw refused(response, text);
    return { headers: response.headers, text };
  }

  /** Begins to read a stream of events. Returns its reader, or nothing if the answer has no content. */
  async stream(path, lastId, controller) {
    const headers = { accept: 'text/event-stream' };
    if (lastId !== undefined) headers['last-event-id'] = lastId;
    const timer = setTimeout(() => controller.abort(new Error('no answer in time')), ANSWER_TIME_MAX_MS);
    try {
      const response = await this.#fetch(path, { headers, signal: controller.signal });
      if (!response.ok) throw refused(response, await response.text().catch(() => ''));
      return response.status === 204 ? undefined : response.body.getReader();
    } finally {
      clearTimeout(timer);
    }
  }

  async #fetch(path, init) {
    try {
      // A redirection would take the key elsewhere.
      return await fetch(`${this.#url}${path}`, { ...init, redirect: 'error', headers: { ...this.#headers, ...init.headers } });
    } catch (error) {
      throw new Unreachable(this.#url, reasonOf(error), !NOT_SENT.has(error.cause?.code));
    }
  }
}

export function parsed(text) {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new Unexpected(error.message);
  }
}

export function reasonOf(error) {
  return error.cause?.message || error.cause?.code || error.message;
}

function refused(response, text) {
  let problem;
  try {
    problem = JSON.parse(text);
  } catch {
    // Somebody between answered.
  }
  if (typeof problem?.code !== 'string') problem = { code: '', detail: 'the answer does not say why' };
  const seconds = Number.parseInt(response.headers.get('retry-after') ?? '', 10);
  return new Refused({ ...problem, status: response.status }, Number.isNaN(seconds) ? undefined : seconds * 1_000);
}
