// When a request is repeated.

const WAIT_MS = 250;
const WAIT_MAX_MS = 5_000;

/** Waits, and fails if the signal says that nobody waits any more. */
export function sleep(ms, signal) {
  return new Promise((resolve, reject) => {
    const stop = () => {
      clearTimeout(timer);
      reject(signal.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener('abort', stop);
      resolve();
    }, ms);
    if (signal?.aborted) stop();
    signal?.addEventListener('abort', stop, { once: true });
  });
}

/** Waits that double, each a little different, so that not all clients come back at once. */
export class Backoff {
  #waitMs = WAIT_MS;

  /** Returns the next wait: as long as the server asks for at least. */
  next(retryAfterMs = 0) {
    const waitMs = this.#waitMs;
    this.#waitMs = Math.min(waitMs * 2, WAIT_MAX_MS);
    return Math.max(waitMs / 2 + (Math.random() * waitMs) / 2, retryAfterMs);
  }
}

/** The repetitions of one request. */
export class Repeats {
  #backoff = new Backoff();
  #until;

  constructor(forMs) {
    this.#until = performance.now() + forMs;
  }

  /** Waits until the request is repeated. Returns false if it is not. */
  async wait(error) {
    const waitMs = this.#backoff.next(error.retryAfterMs);
    if (!error.isRepeated || performance.now() + waitMs > this.#until) return false;
    await sleep(waitMs);
    return true;
  }

  /** Calls until there is a result, or no repetition helps. */
  async run(call) {
    for (;;) {
      try {
        return await call();
      } catch (error) {
        if (!(await this.wait(error))) throw error;
      }
    }
  }
}
