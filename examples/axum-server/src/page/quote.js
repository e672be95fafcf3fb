// The live quote of the order in the form: asked for anew every few seconds, and whenever the form changes.

import { post, Refused } from './session.js';

/** How long the form rests before its quote is asked for. */
const REST_MS = 250;
/** How long a quote is shown. The server keeps its word for half a minute, so the one that is shown can be ordered at. */
const LIFE_MS = 10_000;
/** How long before its end a quote is not ordered at any more: the order has a way to go. */
const MARGIN_MS = 1500;

export class LiveQuote {
  /**
   * `fields` returns what is asked for, or nothing while the form is not complete. `show` gets `{state, quote, refusal}`: the state is
   * `none`, `loading`, `fresh`, `refused` or `away`. `tick` gets the age of the quote and the time to the next one, in seconds.
   */
  constructor({ fields, show, tick }) {
    Object.assign(this, { fields, show, tick });
    this.quote = null;
    this.pending = null;
    this.isHeld = false;
    setInterval(() => this.beat(), 250);
    document.addEventListener('visibilitychange', () => this.beat());
  }

  /** Asks for a quote of another order: the one that is shown is not of it. */
  change() {
    this.quote = null;
    this.stop();
    const fields = this.fields();
    if (!fields) {
      this.show({ state: 'none' });
      return;
    }
    this.show({ state: 'loading' });
    this.pending = this.ask(fields, REST_MS);
  }

  /** Asks for a newer quote of the same order. The old one is shown until then. */
  renew() {
    if (this.pending) return;
    const fields = this.fields();
    if (fields) this.pending = this.ask(fields, 0);
  }

  stop() {
    this.request?.abort();
    this.request = null;
    this.pending = null;
  }

  async ask(fields, restMs) {
    const request = new AbortController();
    this.request = request;
    await new Promise((resolve) => setTimeout(resolve, restMs));
    if (request.signal.aborted) return;
    let shown;
    try {
      const quote = await post('/api/quote', fields, { signal: request.signal });
      this.quote = quote;
      this.at = performance.now();
      this.expiresAt = this.at + (quote.expiresAt ? lifeLeftMs(quote) : 0);
      shown = { state: 'fresh', quote };
    } catch (error) {
      if (request.signal.aborted) return;
      this.quote = null;
      shown = error instanceof Refused ? { state: 'refused', refusal: error.problem } : { state: 'away' };
      this.at = performance.now();
    }
    if (request.signal.aborted) return;
    this.request = null;
    this.pending = null;
    this.show(shown);
    this.beat();
  }

  /** Returns when there is a quote, or the server has said why not, or it takes too long. */
  async settled(patienceMs) {
    const patience = new Promise((resolve) => setTimeout(resolve, patienceMs));
    if (this.pending) await Promise.race([this.pending, patience]);
  }

  /** Returns the id of the quote that is shown, if the server still keeps its word. */
  get orderableId() {
    return this.quote?.quoteId && performance.now() < this.expiresAt - MARGIN_MS ? this.quote.quoteId : undefined;
  }

  /** Keeps the quote as it is while somebody decides. */
  hold(isHeld) {
    this.isHeld = isHeld;
  }

  beat() {
    if (!this.quote) {
      this.tick(null);
      return;
    }
    const age = performance.now() - this.at;
    this.tick({ age: age / 1000, left: Math.max(0, (LIFE_MS - age) / 1000), share: Math.min(1, age / LIFE_MS) });
    if (age >= LIFE_MS && !this.isHeld && !document.hidden) this.renew();
  }
}

/** Returns how long a quote holds from now on. Its times are the server's, whose clock may be another one: a quote lives for half a minute. */
function lifeLeftMs({ expiresAt }) {
  const left = Date.parse(expiresAt) - Date.now();
  return left > 0 && left <= 30_000 ? left : 30_000;
}
