import { AllPlace, EventStream, OrderPlace } from './follow.js';
import { Http, parsed } from './http.js';
import { named, outcome, place, placeAll } from './place.js';
import { Repeats } from './repeat.js';
import { checked, fromEnvironment } from './settings.js';

/** A restart takes seconds. */
const REPEAT_FOR_MS = 30_000;
/** The server sends something every 20 seconds. What is silent for longer than two of these is cut. */
const SILENCE_MAX_MS = 45_000;

const segment = encodeURIComponent;

/** A client of one server. `index.d.ts` describes it. */
export class Client {
  #http;
  #repeatForMs;
  #silenceMaxMs;

  constructor({ repeatForMs = REPEAT_FOR_MS, silenceMaxMs = SILENCE_MAX_MS, ...settings } = {}) {
    const { url, key } = checked(settings);
    this.#http = new Http(url, key);
    this.#repeatForMs = repeatForMs;
    this.#silenceMaxMs = silenceMaxMs;
  }

  static fromEnv(options = {}) {
    return new Client({ ...fromEnvironment(), ...options });
  }

  get url() {
    return this.#http.url;
  }

  async place(form) {
    return place(this, this.#http, named(form), this.#repeats());
  }

  async placeAll(forms) {
    return placeAll(this, this.#http, forms.map(named), this.#repeats());
  }

  async quote(form) {
    return this.#postRepeatedly('/api/quote', form);
  }

  async dryRun(form) {
    return (await this.#postRepeatedly('/api/orders/execute', { ...form, dryRun: true })).quote;
  }

  async order(orderId) {
    return this.get(`/api/orders/status/${segment(orderId)}`);
  }

  async orderNamed(clientOrderId, { userId } = {}) {
    return this.get(`/api/orders/by-client-id/${segment(clientOrderId)}${query({ userId })}`);
  }

  async orders({ status, ...conditions } = {}) {
    const statuses = Array.isArray(status) ? status.join(',') : status;
    return this.get(`/api/orders${query({ status: statuses, ...conditions })}`);
  }

  async events(orderId, { after = 0, limit } = {}) {
    return this.get(`/api/orders/${segment(orderId)}/events${query({ after, limit })}`);
  }

  async cancel(orderId) {
    return this.#postRepeatedly(`/api/orders/${segment(orderId)}/cancel`, {});
  }

  async cancelAll(orderIds) {
    const { results } = await this.#postRepeatedly('/api/orders/cancel', { orderIds });
    const split = (it) => (it instanceof Error ? { error: it } : { order: it });
    return results.map((result) => split(outcome(result)));
  }

  async pairs() {
    return (await this.get('/api/pairs')).pairs;
  }

  async tokens() {
    return (await this.get('/api/tokens')).tokens;
  }

  async time() {
    return this.get('/api/time');
  }

  async chain() {
    return this.get('/api/chain');
  }

  async follow(orderId, { after = 0, ...options } = {}) {
    return this.#open(new OrderPlace(orderId, after), options);
  }

  async followAll({ after, userId, ...options } = {}) {
    return this.#open(new AllPlace(after, userId), options);
  }

  async get(path) {
    const { text } = await this.#repeats().run(() => this.#http.call('GET', path));
    return parsed(text);
  }

  async post(path, body = {}, { timeMs } = {}) {
    return parsed((await this.#http.call('POST', path, JSON.stringify(body), timeMs)).text);
  }

  async #postRepeatedly(path, body) {
    const text = JSON.stringify(body);
    return parsed((await this.#repeats().run(() => this.#http.call('POST', path, text))).text);
  }

  #open(streamPlace, options) {
    const stream = new EventStream(this.#http, streamPlace, { silenceMaxMs: this.#silenceMaxMs, ...options });
    return stream.open(this.#repeats());
  }

  #repeats() {
    return new Repeats(this.#repeatForMs);
  }
}

function query(conditions) {
  const given = Object.entries(conditions).filter(([, value]) => value !== undefined);
  return given.length === 0 ? '' : `?${new URLSearchParams(given.map(([name, value]) => [name, String(value)]))}`;
}
