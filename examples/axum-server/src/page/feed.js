// All orders of the user, as the server lists them and as they change.

import { get } from './session.js';
import { LiveSocket } from './socket.js';

/** How many orders are kept. */
const KEPT = 12;
/** How long the list waits for more news before it is read again. */
const REST_MS = 300;

/** How long news are gathered before they are shown. */
const DRAW_MS = 30;

/** How far an order is whose events nobody has told yet, by its status. */
const PROGRESS = { pending: 0, routing: 20, building: 50, submitted: 75, confirmed: 100, failed: 100 };

export class OrderFeed {
  /** `show` gets the orders, the newest first; `showState` gets how the stream is. */
  constructor({ show, showState }) {
    Object.assign(this, { show, showState });
    this.orders = new Map();
    this.cursor = undefined;
    this.socket = new LiveSocket({
      path: '/api/stream',
      // Without a cursor the stream begins now, and the list says what was before.
      query: () => (this.cursor ? { after: this.cursor } : {}),
      take: (frame) => this.take(frame),
      show: showState,
    });
  }

  take(frame) {
    if (frame.cursor) {
      const isFirst = this.cursor === undefined;
      this.cursor = frame.cursor;
      // The stream has begun, so no event is between the list and the stream.
      if (isFirst) this.list();
    }
    if (!frame.orderId || !frame.seq) return;
    const order = this.orders.get(frame.orderId);
    if (!order) {
      this.listSoon();
    } else if (frame.seq > order.lastSeq) {
      Object.assign(order, { status: frame.status, progress: frame.progress, lastSeq: frame.seq, code: frame.error?.code });
      if (frame.amountOut) order.amountOut = frame.amountOut;
      this.changed();
    }
  }

  listSoon() {
    this.timer ??= setTimeout(() => {
      this.timer = undefined;
      this.list();
    }, REST_MS);
  }

  async list() {
    try {
      const { orders } = await get(`/api/orders?limit=${KEPT}`);
      for (const order of orders.filter(({ tokenIn }) => tokenIn)) this.add(order);
      this.isListed = true;
      this.changed();
    } catch {
      // The list is read again with the next order, and when the server is back.
      this.listSoon();
    }
  }

  add({ error, ...order }) {
    const known = this.orders.get(order.orderId);
    if (known && known.lastSeq >= order.lastSeq) return;
    this.orders.set(order.orderId, { ...order, code: error?.code, progress: PROGRESS[order.status] });
  }

  changed() {
    const newest = [...this.orders.values()].sort((one, other) => (one.orderId < other.orderId ? 1 : -1));
    for (const { orderId } of newest.slice(KEPT)) this.orders.delete(orderId);
    this.newest = newest.slice(0, KEPT);
    // Many events of many orders come at once, and one picture is enough for them.
    this.drawing ??= setTimeout(() => {
      this.drawing = undefined;
      this.show(this.newest);
    }, DRAW_MS);
  }
}
