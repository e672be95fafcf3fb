// Why a call fails.

/** Every failure of this package. */
export class OrderEngineError extends Error {
  constructor(message, options) {
    super(message, options);
    this.name = new.target.name;
  }

  /** The code of the server's refusal, such as `order-not-found`. */
  get code() {
    return undefined;
  }

  /** Whether waiting may help. */
  get isPassing() {
    return false;
  }

  /** Whether the client repeats the request. */
  get isRepeated() {
    return false;
  }

  /** Whether a request with this answer may have been carried out. */
  get leavesDoubt() {
    return false;
  }
}

/** The server said no. */
export class Refused extends OrderEngineError {
  constructor(problem, retryAfterMs) {
    const fields = (problem.errors ?? []).map(({ field, message }) => `\n  ${field}: ${message}`);
    super(`${problem.status} ${problem.code}: ${problem.detail}${fields.join('')}`);
    this.problem = problem;
    this.retryAfterMs = retryAfterMs;
  }

  get code() {
    return this.problem.code;
  }

  get isPassing() {
    return this.problem.status === 429 || this.problem.status >= 500;
  }

  get isRepeated() {
    const { status, code } = this.problem;
    // A pause is an operator's decision, and may last.
    const isTold = this.retryAfterMs !== undefined && (status === 429 || status === 503) && code !== 'paused';
    return isTold || this.leavesDoubt;
  }

  get leavesDoubt() {
    // The server says so, or it is not the server that answered.
    return this.code === 'outcome-unknown' || (this.code === '' && this.problem.status >= 500);
  }
}

/** There is no answer. */
export class Unreachable extends OrderEngineError {
  constructor(url, reason, mayHaveArrived) {
    super(`cannot reach ${url}: ${reason}`);
    this.mayHaveArrived = mayHaveArrived;
  }

  get isPassing() {
    return true;
  }

  get isRepeated() {
    return true;
  }

  get leavesDoubt() {
    return this.mayHaveArrived;
  }
}

/** The order may have been placed, and nobody said so. The same form with this key places it once. */
export class InDoubt extends OrderEngineError {
  constructor(key, cause) {
    super(`the order may have been placed; it is placed once if it is repeated with the key ${key}`, { cause });
    this.key = key;
    this.orderId = cause.problem?.orderId ?? undefined;
  }

  get code() {
    return this.cause.code;
  }
}

/** The server answered what it should not. */
export class Unexpected extends OrderEngineError {
  constructor(reason) {
    super(`the server answered what this client does not understand: ${reason}`);
  }

  get leavesDoubt() {
    return true;
  }
}

/** The settings are not usable. */
export class SettingsError extends OrderEngineError {}
