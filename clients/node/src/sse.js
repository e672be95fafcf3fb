// Server-sent events, as they come in pieces.

/** The largest event. The server's are a few kilobytes. */
const EVENT_CHARS_MAX = 8 << 20;

/** Puts events together. */
export class Parser {
  #decoder = new TextDecoder();
  #line = '';
  #isAfterReturn = false;
  #message = { id: undefined, data: undefined };

  /** Takes a piece of bytes, and returns the events that it completes: each with its own `id`, if it has one, and its `data`. */
  take(piece) {
    let text = this.#decoder.decode(piece, { stream: true });
    if (this.#isAfterReturn && text !== '') {
      // The rest of the end of a line.
      if (text.startsWith('\n')) text = text.slice(1);
      this.#isAfterReturn = false;
    }
    if (text.endsWith('\r')) this.#isAfterReturn = true;
    const lines = (this.#line + text).split(/\r\n|\r|\n/);
    this.#line = lines.pop();
    if (this.#line.length + (this.#message.data?.length ?? 0) > EVENT_CHARS_MAX) {
      throw new RangeError('an event is too large');
    }
    return lines.map((line) => this.#takeLine(line)).filter((message) => message !== undefined);
  }

  #takeLine(line) {
    if (line === '') {
      const message = this.#message;
      this.#message = { id: undefined, data: undefined };
      return message.data === undefined ? undefined : message;
    }
    const colon = line.indexOf(':');
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? '' : line.slice(colon + 1).replace(/^ /, '');
    if (field === 'id') this.#message.id = value;
    if (field === 'data') this.#message.data = this.#message.data === undefined ? value : `${this.#message.data}\n${value}`;
    // All else keeps the connection alive, or nobody needs it here.
    return undefined;
  }
}
