import type { components } from './types.js';

type Schemas = components['schemas'];

/** An order to place. Amounts are decimal texts in units of their token, so that no digit is lost. */
export type OrderForm = Omit<Schemas['OrderForm'], 'dryRun'>;
/** What would be traded. */
export type QuoteForm = Schemas['QuoteForm'];
export type Order = Schemas['Order'];
/** An order of a list: one that the server cannot read has an id and a message only. */
export type ListedOrder = Schemas['ListedOrder'];
export type OrderPage = Schemas['Orders'];
export type Event = Schemas['Event'] & {
  /** Its place in the stream of all orders; there only. */
  cursor?: string;
};
export type EventPage = Schemas['Events'];
export type Quote = Schemas['Quotation'];
export type Cancellation = Schemas['Cancellation'];
export type Pair = Schemas['Pair'];
export type Token = Schemas['Token'];
export type Chain = Schemas['Chain'];
export type Time = Schemas['Time'];
export type Problem = Schemas['Problem'];

/** An order that was accepted. */
export type Placed = Schemas['AcceptedOrder'] & {
  /** Its name, under which the same form places it once. */
  clientOrderId: string;
  /** Whether an earlier request had placed it. */
  isReplay: boolean;
};

/** What became of one of several orders. */
export type Outcome<T> = { order: T; error?: undefined } | { order?: undefined; error: OrderEngineError };

export interface Settings {
  /** `http://host:port` or `https://host:port`; by default `http://127.0.0.1:3000`. */
  url?: string;
  /** An API key or a token. */
  key?: string;
  /** Send the key over `http://` to another machine, where everybody on the way can read it. */
  insecureHttp?: boolean;
  /** For how long a request is repeated that may be: 30,000. */
  repeatForMs?: number;
  /** For how long a stream may be silent before it connects again: 45,000. The server sends something every 20 seconds. */
  silenceMaxMs?: number;
}

export interface StreamOptions {
  /** Ends the stream. */
  signal?: AbortSignal;
  /** Is told when the connection broke or could not be made again. The stream tries again behind its last event. */
  onInterrupted?: (reason: string) => void;
  /** Is told what the operator tells all clients. */
  onNotice?: (message: string) => void;
}

export interface OrderQuery {
  status?: Order['status'] | Order['status'][];
  userId?: string;
  token?: string;
  /** From this time on (RFC 3339). */
  from?: string;
  /** Before this time (RFC 3339). */
  to?: string;
  /** Which come first: the newest, unless said. */
  sort?: 'newest' | 'oldest';
  /** Only orders that need an operator. */
  attention?: 'any';
  limit?: number;
  /** The `nextCursor` of the page before. */
  cursor?: string;
}

/** Events, each once and in the order of their order. A loop over it that is left ends it. */
export interface EventStream extends AsyncIterableIterator<Event> {
  /** Of one order: the number of its last event. */
  readonly lastSeq: number;
  /** The place behind the last event: a later stream behind it goes on where this one is. */
  readonly cursor: string;
  /** Ends the stream, also while somebody waits for its next event. */
  close(): void;
}

/**
 * A client of one server.
 *
 * Whatever has no effect, or the same one however often it is done, is repeated for a while if the server cannot be reached or says that it cannot
 * serve now. An operator's pause is told at once. Failures are `OrderEngineError`s.
 */
export class Client {
  constructor(settings?: Settings);

  /**
   * Reads `ORDER_ENGINE_URL` and `ORDER_ENGINE_KEY`, and what they leave open from the file that `ORDER_ENGINE_CONFIG` names, or from
   * `order-engine/cli.toml` in `$XDG_CONFIG_HOME` or `~/.config`.
   */
  static fromEnv(settings?: Settings): Client;

  readonly url: string;

  /** Places an order, once. A form without a `clientOrderId` gets one before it is sent; what is in doubt is repeated with it. */
  place(form: OrderForm): Promise<Placed>;
  /** Places up to 50 orders by one request, each once and by itself. */
  placeAll(forms: OrderForm[]): Promise<Outcome<Placed>[]>;
  quote(form: QuoteForm): Promise<Quote>;
  /** Checks an order without placing it. */
  dryRun(form: OrderForm): Promise<Quote>;
  order(orderId: string): Promise<Order>;
  orderNamed(clientOrderId: string, options?: { userId?: string }): Promise<Order>;
  /** Returns a page of orders, the newest first unless said. */
  orders(query?: OrderQuery): Promise<OrderPage>;
  events(orderId: string, options?: { after?: number; limit?: number }): Promise<EventPage>;
  /** Cancels an order. One that was cancelled before is cancelled again, with the same answer. */
  cancel(orderId: string): Promise<Cancellation>;
  cancelAll(orderIds: string[]): Promise<Outcome<Cancellation>[]>;
  pairs(): Promise<Pair[]>;
  tokens(): Promise<Token[]>;
  time(): Promise<Time>;
  chain(): Promise<Chain>;
  /** Follows an order: its events behind the one of the number `after` (0), and then those that happen, up to its end. */
  follow(orderId: string, options?: StreamOptions & { after?: number }): Promise<EventStream>;
  /**
   * Follows all orders of the caller: behind the cursor `after`, from the first event on (`start`), or from now on. Once the promise is fulfilled, no
   * event is missed. An event that the server cannot read ends the stream with `Unexpected`; its `cursor` is behind that event.
   */
  followAll(options?: StreamOptions & { after?: string; userId?: string }): Promise<EventStream>;
  /** Reads a path that has no method here. */
  get<T = unknown>(path: string): Promise<T>;
  /** Posts to a path that has no method here, once. */
  post<T = unknown>(path: string, body?: unknown, options?: { timeMs?: number }): Promise<T>;
}

export class OrderEngineError extends Error {
  /** The code of the server's refusal, such as `order-not-found`. */
  readonly code: string | undefined;
  /** Whether waiting may help. */
  readonly isPassing: boolean;
}

/** The server said no. */
export class Refused extends OrderEngineError {
  readonly code: string;
  readonly problem: Problem;
  readonly retryAfterMs: number | undefined;
}

/** There is no answer. */
export class Unreachable extends OrderEngineError {
  readonly mayHaveArrived: boolean;
}

/** The order may have been placed, and nobody said so. The same form with this key places it once. */
export class InDoubt extends OrderEngineError {
  readonly key: string;
  readonly orderId: string | undefined;
}

/** The server answered what it should not. */
export class Unexpected extends OrderEngineError {}

/** The settings are not usable. */
export class SettingsError extends OrderEngineError {}
