// The page: places orders, follows one of them live, and keeps a list of those placed in this browser. It asks for a
// key when the server does, and keeps it for as long as the tab is open.

const KEY_KEY = 'order-engine.key';
const RECENT_KEY = 'order-engine.recent';
const RECENT_MAX = 12;
const QUOTE_DELAY_MS = 300;
const RECONNECT_MIN_MS = 500;
const RECONNECT_MAX_MS = 10_000;

const $ = (id) => document.getElementById(id);

/** Returns an element with properties and children. Text is never parsed as HTML. */
function element(tag, properties = {}, ...children) {
  const node = Object.assign(document.createElement(tag), properties);
  node.append(...children);
  return node;
}

const isTerminal = (status) => status === 'confirmed' || status === 'failed';

// ---- Requests to the server ------------------------------------------------------------------

/** The key of the user, an API key or a token. Other tabs do not see it, and it ends with this one. */
const credential = {
  get() {
    return sessionStorage.getItem(KEY_KEY);
  },
  set(key) {
    if (key) sessionStorage.setItem(KEY_KEY, key);
    else sessionStorage.removeItem(KEY_KEY);
    $('forget-key').hidden = !key;
  },
};

/** The question for a key that is being asked, if any. All requests that need one wait for it. */
let question = null;

/** Asks for a key, and returns when there is one. `refused` is the key that the server did not take, if there was one. */
function askForKey(refused) {
  // Another request was answered later, and a new key has come meanwhile.
  if (refused && credential.get() && credential.get() !== refused) return Promise.resolve();
  question ??= new Promise((resolve) => {
    credential.set(null);
    $('key-error').textContent = refused ? 'The server does not take this key: it may have expired.' : '';
    $('key-card').hidden = false;
    $('key').focus();
    $('key-form').addEventListener('submit', function take(event) {
      event.preventDefault();
      const key = $('key').value.trim();
      if (!key) return;
      $('key-form').removeEventListener('submit', take);
      $('key').value = '';
      $('key-card').hidden = true;
      credential.set(key);
      question = null;
      resolve();
    });
  });
  return question;
}

/** Sends a request with the key, if there is one, and asks for one if the server wants one. */
async function send(path, request = {}) {
  for (;;) {
    const key = credential.get();
    const headers = { ...request.headers, ...(key && { Authorization: `Bearer ${key}` }) };
    const response = await fetch(path, { ...request, headers });
    if (response.status !== 401) return response;
    await askForKey(key);
  }
}

/** Returns a ticket for a socket, which cannot send the key, or nothing if the server wants none. */
async function newTicket() {
  if (!credential.get()) return undefined;
  const response = await send('/api/tickets', { method: 'POST' });
  return response.ok ? (await response.json()).ticket : undefined;
}

/** Posts JSON, and returns the answer, or throws an error that has the problem document. */
async function post(path, body) {
  const response = await send(path, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify(body),
  });
  const answer = await response.json();
  if (!response.ok) throw Object.assign(new Error(answer.detail), { problem: answer });
  return answer;
}

/** Returns a unique client order id. `crypto.randomUUID` exists only in secure contexts. */
function newKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return 'page-' + Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}

// ---- Recent orders ---------------------------------------------------------------------------

const recent = {
  list() {
    try {
      const list = JSON.parse(localStorage.getItem(RECENT_KEY));
      return Array.isArray(list) ? list : [];
    } catch {
      return [];
    }
  },
  save(list) {
    try {
      localStorage.setItem(RECENT_KEY, JSON.stringify(list.slice(0, RECENT_MAX)));
    } catch {
      // Without storage the list stays empty, and everything else works.
    }
    this.show();
  },
  add(order) {
    this.save([order, ...this.list().filter((other) => other.orderId !== order.orderId)]);
  },
  setStatus(orderId, status) {
    const list = this.list();
    const order = list.find((other) => other.orderId === orderId);
    if (order && order.status !== status) {
      order.status = status;
      this.save(list);
    }
  },
  show() {
    const list = this.list();
    $('recent').replaceChildren(...list.map((order) => {
      const badge = element('span', { className: 'badge', textContent: order.status });
      badge.dataset.status = order.status;
      const button = element('button', { type: 'button' }, element('span', { textContent: order.summary }), badge);
      button.addEventListener('click', () => follow(order.orderId, order.summary));
      return element('li', {}, button);
    }));
    $('recent-empty').hidden = list.length > 0;
    $('forget').hidden = list.length === 0;
  },
};

// ---- Following an order ----------------------------------------------------------------------

/** The stream of the order that is shown. There is at most one. */
let stream = null;

async function follow(orderId, summary) {
  stream?.close();
  const opened = new OrderStream(orderId);
  stream = opened;
  location.hash = orderId;
  $('order-empty').hidden = true;
  $('order').hidden = false;
  $('summary').textContent = summary ?? orderId;
  $('attempt').textContent = '';
  $('timeline').replaceChildren();
  $('facts').replaceChildren();
  setFact('Order', orderId);
  setStatus('pending', 0);
  await opened.describe();
  if (stream === opened) opened.connect();
}

/** Reads an order's events. It reconnects by itself and resumes after the last event that it has. */
class OrderStream {
  constructor(orderId) {
    this.orderId = orderId;
    this.lastSeq = 0;
    this.isDone = false;
    this.failures = 0;
  }

  /** Reads the order's amount and tokens, which its events do not have. */
  async describe() {
    try {
      const response = await send(`/api/orders/status/${encodeURIComponent(this.orderId)}`);
      if (!response.ok) return;
      const { amount, tokenIn, tokenOut } = await response.json();
      this.unit = tokenOut;
      if (stream === this) $('summary').textContent = `${amount} ${tokenIn} → ${tokenOut}`;
    } catch {
      // The stream shows the error, and amounts are shown without their token.
    }
  }

  async connect() {
    setConnection('waiting', this.failures ? 'reconnecting…' : 'connecting…');
    let ticket;
    try {
      ticket = await newTicket();
    } catch {
      this.closed(1006);
      return;
    }
    if (stream !== this) return;
    const scheme = location.protocol === 'https:' ? 'wss' : 'ws';
    const query = new URLSearchParams({ after: this.lastSeq, ...(ticket && { ticket }) });
    const path = `/ws/orders/${encodeURIComponent(this.orderId)}?${query}`;
    this.socket = new WebSocket(`${scheme}://${location.host}${path}`);
    this.socket.addEventListener('message', (message) => this.take(JSON.parse(message.data)));
    this.socket.addEventListener('close', (event) => this.closed(event.code));
  }

  take(frame) {
    if (stream !== this) return;
    if (frame.type === 'subscribed') {
      this.failures = 0;
      setConnection('live', 'live');
    } else if (frame.type === 'error' || frame.type === 'notice') {
      setConnection('waiting', frame.message);
    } else if (frame.seq > this.lastSeq) {
      this.lastSeq = frame.seq;
      this.isDone = isTerminal(frame.status);
      showEvent(frame);
      recent.setStatus(this.orderId, frame.status);
    }
  }

  closed(code) {
    if (stream !== this) return;
    if (this.isDone || code === 1000) {
      setConnection('done', 'complete');
    } else if (code === 4404) {
      setConnection('done', 'unknown order');
      $('cancel').hidden = true;
    } else {
      const delay = Math.min(RECONNECT_MAX_MS, RECONNECT_MIN_MS * 2 ** this.failures);
      this.failures += 1;
      setConnection('waiting', 'reconnecting…');
      this.timer = setTimeout(() => this.connect(), delay);
    }
  }

  close() {
    clearTimeout(this.timer);
    this.socket?.close();
  }
}

function setConnection(state, text) {
  $('connection').dataset.state = state;
  $('connection').textContent = text;
}

function setStatus(status, progress) {
  $('status').textContent = status;
  $('status').dataset.status = status;
  $('progress').value = progress;
  $('progress').textContent = `${progress} %`;
  $('cancel').hidden = isTerminal(status);
  $('cancel').disabled = false;
}

/** Shows a fact about the order, a text or an element, and replaces an older fact of the same name. */
function setFact(name, value, className = '') {
  const facts = $('facts');
  const old = [...facts.querySelectorAll('dt')].find((dt) => dt.textContent === name);
  if (old) {
    old.nextElementSibling.replaceChildren(value);
  } else {
    facts.append(element('dt', { textContent: name }), element('dd', { className }, value));
  }
}

/** The URL of a transaction at the chain's explorer, with `{tx}` in the place of its id, if there is one. */
let explorer;

/**
 * Returns a transaction's id, as a link where the chain has an explorer. What explorers know stands before a colon: an id on a chain
 * of the EVM is a hash and a nonce.
 */
function transaction(id) {
  if (!explorer) return id;
  const href = explorer.replace('{tx}', encodeURIComponent(id.split(':')[0]));
  return element('a', { href, textContent: id, target: '_blank', rel: 'noopener noreferrer' });
}

function showEvent(frame) {
  setStatus(frame.status, frame.progress);
  if (frame.maxAttempts) $('attempt').textContent = `attempt ${frame.attempt} of ${frame.maxAttempts}`;
  if (frame.chosenDex) setFact('Exchange', frame.chosenDex);
  const unit = stream.unit ? ` ${stream.unit}` : '';
  if (frame.minOut) setFact('At least', frame.minOut + unit);
  if (frame.txHash) setFact('Transaction', transaction(frame.txHash));
  if (frame.amountOut) setFact('Received', frame.amountOut + unit);
  if (frame.executionPriceExact) setFact('Price', frame.executionPriceExact + unit);
  if (frame.type === 'failed') setFact('Failed', `${frame.error.message} (${frame.error.code})`, 'bad');

  const time = new Date(frame.timestamp);
  const stamp = time.toLocaleTimeString([], { hour12: false }) + '.' + String(time.getMilliseconds()).padStart(3, '0');
  const item = element('li', {}, element('span', { textContent: frame.message }),
    element('time', { dateTime: frame.timestamp, textContent: stamp }));
  item.dataset.type = frame.type;
  item.dataset.seq = frame.seq;
  if (frame.quotes) {
    const texts = frame.quotes.map((quote) => `${quote.dex}: ${quote.amountOut ?? quote.error.message}`);
    item.append(element('span', { className: 'quotes', textContent: texts.join(' · ') }));
  }
  $('timeline').append(item);
}

// ---- The form --------------------------------------------------------------------------------

const form = $('order-form');

function order() {
  const fields = Object.fromEntries(new FormData(form));
  for (const name of Object.keys(fields)) fields[name] = fields[name].trim();
  if (fields.slippage === '') delete fields.slippage;
  return fields;
}

function showProblem(problem) {
  clearProblem();
  for (const { field, message } of problem.errors ?? []) {
    const output = form.querySelector(`[data-error-for="${CSS.escape(field)}"]`);
    const input = form.elements.namedItem(field);
    if (output && input) {
      output.textContent = message;
      input.setAttribute('aria-invalid', 'true');
    } else {
      $('form-error').textContent = `${field}: ${message}`;
    }
  }
  if (!problem.errors?.length) $('form-error').textContent = problem.detail;
  form.querySelector('[aria-invalid="true"]')?.focus();
}

function clearProblem() {
  for (const output of form.querySelectorAll('.error')) output.textContent = '';
  for (const input of form.querySelectorAll('[aria-invalid]')) input.removeAttribute('aria-invalid');
}

/** The client order id of the order in the form. It stays the same while the request is repeated, so that the
 * order is placed once even if an answer is lost. */
let key = newKey();

/** The least output that the page shows for the form, or nothing. It is the worst price of the order. */
let shownMinimum;

async function place(event) {
  event.preventDefault();
  clearProblem();
  const fields = order();
  if (shownMinimum) fields.minOut = shownMinimum;
  $('submit').disabled = true;
  try {
    const accepted = await post('/api/orders/execute', { ...fields, clientOrderId: key });
    key = newKey();
    const summary = `${fields.amount} ${fields.tokenIn} → ${fields.tokenOut}`;
    recent.add({ orderId: accepted.orderId, summary, status: accepted.status });
    follow(accepted.orderId, summary);
    requote();
  } catch (error) {
    if (error.problem) showProblem(error.problem);
    else $('form-error').textContent = 'The server cannot be reached. Trying again is safe.';
  } finally {
    $('submit').disabled = false;
  }
}

let quoteTimer = 0;
let quoteNumber = 0;

/** Requests a quote once the form has not changed for a while. The shown one is outdated. */
function requote() {
  clearTimeout(quoteTimer);
  quoteNumber += 1;
  shownMinimum = undefined;
  $('receive').textContent = '…';
  $('quote-note').textContent = '';
  quoteTimer = setTimeout(showQuote, QUOTE_DELAY_MS);
}

async function showQuote() {
  const number = quoteNumber;
  let [receive, note, minimum] = ['–', ''];
  try {
    const quote = await post('/api/quote', order());
    if (quote.route) {
      receive = quote.amountOut;
      minimum = quote.minOut;
      note = `Best on ${quote.chosenDex}; at least ${quote.minOut} ${quote.tokenOut}.`;
    } else {
      note = 'No exchange takes this order at the moment.';
    }
  } catch (error) {
    note = error.problem?.errors?.[0]?.message ?? '';
  }
  // The answer is outdated if the form has changed since the request.
  if (number === quoteNumber) {
    $('receive').textContent = receive;
    $('quote-note').textContent = note;
    shownMinimum = minimum;
  }
}

async function cancel() {
  if (!stream) return;
  $('cancel').disabled = true;
  try {
    await post(`/api/orders/${stream.orderId}/cancel`, {});
  } catch {
    // The timeline shows whether the order was cancelled.
  }
}

async function start() {
  recent.show();
  $('forget').addEventListener('click', () => recent.save([]));
  $('forget-key').hidden = !credential.get();
  $('forget-key').addEventListener('click', () => {
    credential.set(null);
    location.reload();
  });
  $('cancel').addEventListener('click', cancel);
  form.addEventListener('submit', place);
  form.addEventListener('input', () => {
    // A changed form is another order, which needs another id.
    key = newKey();
    requote();
  });
  $('flip').addEventListener('click', () => {
    const [tokenIn, tokenOut] = [$('token-in'), $('token-out')];
    [tokenIn.value, tokenOut.value] = [tokenOut.value, tokenIn.value];
    key = newKey();
    requote();
  });

  const get = async (path) => (await send(path)).json();
  const [{ tokens }, chain] = await Promise.all([get('/api/tokens'), get('/api/chain')]);
  $('chain').textContent = chain.name;
  explorer = chain.explorer;
  for (const id of ['token-in', 'token-out']) {
    const options = tokens.map(({ symbol }) => element('option', { value: symbol, textContent: symbol }));
    $(id).replaceChildren(...options);
  }
  $('token-out').selectedIndex = 1;
  document.body.dataset.ready = 'true';
  requote();

  const shown = location.hash.slice(1);
  const known = recent.list().find((other) => other.orderId === shown);
  if (shown) follow(shown, known?.summary);
}

start();
