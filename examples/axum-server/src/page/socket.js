// A socket that reconnects by itself, and resumes where it was.

import { newTicket, noteReachable, onBack } from './session.js';

const RECONNECT_MIN_MS = 500;
const RECONNECT_MAX_MS = 10_000;

/** The codes of a close after which there is nothing more to come. */
const ENDS = new Map([[1000, 'ended'], [4404, 'unknown']]);

export class LiveSocket {
  /**
   * `path` and `query` say what is listened to, from where on; `take` gets each frame; `show` gets the state: `connecting`, `live`,
   * `reconnecting`, and at the end `ended` or `unknown`.
   */
  constructor({ path, query, take, show }) {
    Object.assign(this, { path, query, take, show });
    this.failures = 0;
    this.isOver = false;
    onBack(() => this.hurry());
    this.connect();
  }

  async connect() {
    clearTimeout(this.timer);
    this.timer = undefined;
    this.show(this.failures ? 'reconnecting' : 'connecting');
    let ticket;
    try {
      ticket = await newTicket();
    } catch {
      this.closed(1006);
      return;
    }
    if (this.isOver) return;
    const scheme = location.protocol === 'https:' ? 'wss' : 'ws';
    const query = new URLSearchParams({ ...this.query(), ...(ticket && { ticket }) });
    const socket = new WebSocket(`${scheme}://${location.host}${this.path}?${query}`);
    this.socket = socket;
    socket.addEventListener('message', ({ data }) => this.receive(JSON.parse(data)));
    socket.addEventListener('close', ({ code }) => this.closed(code));
  }

  receive(frame) {
    if (this.isOver) return;
    if (frame.type === 'subscribed') {
      this.failures = 0;
      noteReachable(true);
      this.show('live');
    }
    this.take(frame);
  }

  closed(code) {
    if (this.isOver) return;
    if (ENDS.has(code)) {
      this.isOver = true;
      this.show(ENDS.get(code));
      return;
    }
    const delay = Math.min(RECONNECT_MAX_MS, RECONNECT_MIN_MS * 2 ** this.failures);
    this.failures += 1;
    this.show('reconnecting');
    this.timer = setTimeout(() => this.connect(), delay);
  }

  /** Connects at once instead of later. */
  hurry() {
    if (!this.isOver && this.timer !== undefined) this.connect();
  }

  close() {
    this.isOver = true;
    clearTimeout(this.timer);
    this.socket?.close();
  }
}
