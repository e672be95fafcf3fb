// Live streams that miss no event and repeat none, whatever happens to connections.
import { Unexpected, Unreachable } from './errors.js';
import { parsed, reasonOf } from './http.js';
import { Backoff, sleep } from './repeat.js';
import { Parser } from './sse.js';

/** How far the events of one order have been read. */
export class OrderPlace {
  constructor(orderId, after) {
    this.orderId = orderId;
    this.lastSeq = after;
  }

  get path() {
    return `/api/orders/${encodeURIComponent(this.orderId)}/events?after=${this.lastSeq}`;
  }

  get lastId() {
    return String(this.lastSeq);
  }

  take(id, frame) {
    // What was there already.
    if (id === undefined || frame.seq <= this.lastSeq) return {};
    if (frame.seq > this.lastSeq + 1) return { gap: `event ${frame.seq} came behind event ${this.lastSeq}` };
    this.lastSeq = frame.seq;
    return { event: frame, isLast: frame.status === 'confirmed' || frame.status === 'failed' };
  }
}

/** How far the events of all orders have been read. */
export class AllPlace {
  /** Without a cursor the server says where the stream begins, before anything can be missed. */
  constructor(after, userId) {
    this.lastId = after;
    this.path = userId === undefined ? '/api/stream' : `/api/stream?userId=${encodeURIComponent(userId)}`;
  }

  take(id, frame) {
    if (id === undefined) {
      this.lastId ??= frame.cursor;
      return {};
    }
    this.lastId = id;
    return { event: frame };
  }
}

/** A stream that connects again. */
export class EventStream {
  #http;
  #place;
  #options;
  #backoff = new Backoff();
  #reader;
  #parser;
  #controller;
  #ready = [];
  #hasEnded = false;
  #isClosed = false;
  #closing = new AbortController();

  constructor(http, place, options) {
    this.#http = http;
    this.#place = place;
    this.#options = options;
    options.signal?.addEventListener('abort', () => this.close(), { once: true });
  }

  /** Connects, and waits until the stream has begun somewhere, so that nothing behind that is missed. */
  async open(repeats) {
    await repeats.run(() => this.#connect());
    if (this.#options.signal?.aborted) this.close();
    return this;
  }

  /** The number of the last event of one order. */
  get lastSeq() {
    return this.#place.lastSeq;
  }

  /** The place behind the last event: a later stream behind it goes on where this one is. */
  get cursor() {
    return this.#place.lastId;
  }

  /** Ends the stream, also while somebody waits for its next event. */
  close() {
    this.#isClosed = true;
    this.#closing.abort();
    this.#controller?.abort();
  }

  [Symbol.asyncIterator]() {
    return this;
  }

  /** Ends the stream when a loop over it is left. */
  async return() {
    this.close();
    return { done: true, value: undefined };
  }

  /** Returns the next event, as iterators do. */
  async next() {
    while (!this.#isClosed) {
      try {
        const event = await this.#step();
        if (event !== undefined) return { done: false, value: event };
        if (this.#hasEnded) break;
      } catch (error) {
        if (this.#isClosed) break;
        this.close();
        throw error;
      }
    }
    this.close();
    return { done: true, value: undefined };
  }

  async #step() {
    if (this.#ready.length > 0) return this.#take(this.#ready.shift());
    if (this.#hasEnded) return undefined;
    if (this.#reader === undefined) {
      await this.#reconnect();
      return undefined;
    }
    let piece;
    try {
      piece = await this.#read();
      if (!piece.done) this.#ready.push(...this.#parser.take(piece.value));
    } catch (error) {
      await this.#cut(reasonOf(error));
      return undefined;
    }
    if (piece.done) await this.#cut('it ended');
    return undefined;
  }

  async #reconnect() {
    try {
      await this.#connect();
    } catch (error) {
      if (!error.isPassing) throw error;
      await this.#cut(error.message, error.retryAfterMs);
    }
  }

  async #connect() {
    this.#controller = new AbortController();
    if (this.#isClosed) this.#controller.abort();
    this.#reader = await this.#http.stream(this.#place.path, this.#place.lastId, this.#controller);
    this.#parser = new Parser();
    this.#ready = [];
    // Without a body there is no further event, and never will be.
    this.#hasEnded = this.#reader === undefined;
    while (!this.#hasEnded && this.#place.lastId === undefined) await this.#begin();
  }

  /** Reads on until the server has said where the stream begins. */
  async #begin() {
    let messages;
    try {
      const piece = await this.#read();
      if (piece.done) throw new Error('it ended');
      messages = this.#parser.take(piece.value);
    } catch (error) {
      this.#reader = undefined;
      throw new Unreachable(this.#http.url, reasonOf(error), true);
    }
    while (messages.length > 0 && this.#place.lastId === undefined) {
      const { id, data } = messages.shift();
      if (id !== undefined) throw new Unexpected('an event came before its stream began');
      this.#place.take(id, parsed(data));
    }
    this.#ready.push(...messages);
  }

  /** Reads a piece, and breaks the connection if it is silent for too long. */
  async #read() {
    let isSilent = false;
    const timer = setTimeout(() => {
      isSilent = true;
      this.#controller.abort();
    }, this.#options.silenceMaxMs);
    try {
      return await this.#reader.read();
    } catch (error) {
      throw isSilent ? new Error('it fell silent') : error;
    } finally {
      clearTimeout(timer);
    }
  }

  async #take({ id, data }) {
    const frame = parsed(data);
    if (id === undefined && frame.type === 'notice') this.#options.onNotice?.(frame.message);
    if (id !== undefined && frame.type === 'unreadable') {
      this.#place.take(id, frame);
      throw new Unexpected(`the server cannot read an event of order ${frame.orderId}`);
    }
    const { event, isLast = false, gap } = this.#place.take(id, frame);
    if (gap !== undefined) await this.#cut(gap);
    if (event !== undefined) this.#backoff = new Backoff();
    this.#hasEnded ||= isLast;
    return event;
  }

  /** Leaves the connection, and waits until the next one may be made. */
  async #cut(reason, retryAfterMs) {
    this.#controller.abort();
    this.#reader = undefined;
    this.#ready = [];
    if (this.#isClosed) return;
    this.#options.onInterrupted?.(reason);
    await sleep(this.#backoff.next(retryAfterMs), this.#closing.signal);
  }
}
