// The order form: what is sold and bought, at which price, and at which price it would be a mistake.

import { RouteView } from './candidates.js';
import { TokenField } from './combobox.js';
import { ask } from './confirm.js';
import { $, announce, element, setText } from './dom.js';
import { amountError, clearErrors, showError, slippageError } from './fields.js';
import { amount, exact, percent } from './format.js';
import { LiveQuote } from './quote.js';
import { reason } from './reasons.js';
import { get, post, Refused } from './session.js';
import { reasonList } from './timeline.js';
import { bySymbol, tokens } from './tokens.js';

/** From this price impact on the page warns, in basis points. */
const WARN_BPS = 100;
/** From this price impact on the page asks again. It is what servers refuse unless an order says otherwise. */
const ASK_BPS = 300;
/** How long an order waits for its quote. */
const QUOTE_PATIENCE_MS = 3000;
/** Beyond the price impact that somebody accepted, an order may lose as much as its price may move. */
const IMPACT_BPS_MAX = 10_000;
/** How often, and at which intervals, the server is asked how much it would take. */
const LIMIT_TRIES = 20;
const LIMIT_REST_MS = 500;
/** A click so soon after an order was placed is no new order. */
const REPEAT_MS = 800;

/** Returns a unique client order id. `crypto.randomUUID` exists only in secure contexts. */
function newKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return 'page-' + Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}

export class OrderForm {
  /** `onPlaced` gets the order that was accepted, and what it is about. */
  constructor(onPlaced) {
    this.onPlaced = onPlaced;
    this.form = $('order-form');
    this.route = new RouteView();
    // The client order id stays the same while the request is repeated, so that the order is placed once even if an answer is lost.
    this.key = newKey();
    // The terms of a request whose answer was lost.
    this.inDoubt = undefined;
    this.placedAt = -Infinity;
    // Below this price impact the server takes an order without another word. It may be stricter than the page.
    this.askBps = ASK_BPS;
    this.tokenIn = new TokenField('token-in', (symbol) => this.chosen(this.tokenOut, symbol));
    this.tokenOut = new TokenField('token-out', (symbol) => this.chosen(this.tokenIn, symbol));
    this.quote = new LiveQuote({
      fields: () => this.fields(),
      show: (shown) => this.showQuote(shown),
      tick: (beat) => this.showAge(beat),
    });
    this.listen();
  }

  listen() {
    this.form.addEventListener('submit', (event) => {
      event.preventDefault();
      this.place();
    });
    $('amount').addEventListener('input', () => this.changed());
    $('slippage').addEventListener('input', () => {
      for (const preset of this.presets()) preset.checked = preset.value === this.slippage();
      this.changed();
    });
    for (const preset of this.presets()) {
      preset.addEventListener('change', () => {
        $('slippage').value = preset.value;
        this.changed();
      });
    }
    $('flip').addEventListener('click', () => {
      [this.tokenIn.value, this.tokenOut.value] = [this.tokenOut.value, this.tokenIn.value];
      this.changed();
    });
    $('requote').addEventListener('click', () => this.quote.renew());
  }

  presets() {
    return this.form.querySelectorAll('[name=preset]');
  }

  slippage() {
    return $('slippage').value.trim();
  }

  /** Offers the tokens, once they are known. */
  begin() {
    const [first, second] = tokens();
    if (!bySymbol(this.tokenIn.value)) this.tokenIn.value = first?.symbol ?? '';
    if (!bySymbol(this.tokenOut.value) || this.tokenOut.value === this.tokenIn.value) this.tokenOut.value = second?.symbol ?? '';
    setText($('tokens-error'), tokens().length < 2 ? 'The server names no two tokens to trade.' : '');
    this.changed();
  }

  /** Nobody sells a token for itself: whoever chooses the token of the other side swaps the two. */
  chosen(other, symbol) {
    if (other.value === symbol) other.value = other === this.tokenIn ? this.lastOut : this.lastIn;
    this.changed();
  }

  changed() {
    [this.lastIn, this.lastOut] = [this.tokenIn.value, this.tokenOut.value];
    // A changed form is another order, which needs another id.
    this.key = newKey();
    this.inDoubt = undefined;
    this.placedAt = -Infinity;
    this.askBps = ASK_BPS;
    this.showFormError();
    this.check(false);
    this.quote.change();
  }

  /** Returns whether the form is complete and right, and shows what is not. Somebody who still types is not told what is missing. */
  check(isFinal) {
    clearErrors(this.form);
    const text = $('amount').value.trim();
    const wrong = amountError(text, this.tokenIn.value);
    const isTyping = !isFinal && /^$|^\d*\.$/.test(text);
    if (wrong && !isTyping) showError(this.form, 'amount', wrong.message, wrong.better && this.offer('amount', wrong.better));
    const slippage = slippageError(this.slippage());
    if (slippage && (isFinal || this.slippage())) {
      showError(this.form, 'slippage', slippage.message, slippage.better && this.offer('slippage', slippage.better));
    }
    if (isFinal) this.form.querySelector('[aria-invalid="true"]')?.focus();
    return !wrong && !slippage && Boolean(this.tokenIn.value && this.tokenOut.value);
  }

  /** Returns a button that writes something better into a field. */
  offer(id, better) {
    const mend = () => {
      $(id).value = better;
      $(id).focus();
      this.changed();
    };
    return { label: `Use ${better}`, mend };
  }

  /** Returns the fields of the order, if the form is complete. */
  fields() {
    const text = $('amount').value.trim();
    const isWrong = amountError(text, this.tokenIn.value) || slippageError(this.slippage());
    if (isWrong || !this.tokenIn.value || !this.tokenOut.value) return null;
    return { tokenIn: this.tokenIn.value, tokenOut: this.tokenOut.value, amount: text, slippage: this.slippage() };
  }

  // ---- The quote -------------------------------------------------------------------------------

  showQuote({ state, quote, refusal }) {
    const isShown = state === 'fresh' && Boolean(quote.route);
    $('terms').hidden = !isShown;
    this.form.dataset.level = 'calm';
    if (isShown) {
      this.showTerms(quote);
      this.route.show(quote);
      return;
    }
    setText($('receive'), state === 'loading' ? '…' : '–');
    $('receive').title = '';
    this.showWarning();
    setText($('submit'), 'Place order');
    if (state === 'fresh') {
      this.form.dataset.level = 'stop';
      this.showWarning('No exchange takes this order as it is.', 'The reasons are listed with the routes.');
      this.route.show(quote);
    } else if (state === 'refused') {
      this.showRefusal(refusal);
      this.route.clear('There is no route for this order.');
    } else {
      this.route.clear(state === 'loading' ? 'Looking for the best route…' : 'The route of your order is drawn here.');
    }
  }

  showTerms(quote) {
    const { tokenIn, tokenOut, route, minOut } = quote;
    const impact = route.priceImpactBps ?? 0;
    const level = impact >= this.askBps ? 'ask' : impact >= WARN_BPS ? 'warn' : 'calm';
    this.form.dataset.level = level;
    setText($('receive'), amount(quote.amountOut));
    $('receive').title = `${exact(quote.amountOut)} ${tokenOut}`;
    setText($('rate'), `1 ${tokenIn} = ${amount(String(route.price))} ${tokenOut}`);
    setText($('impact'), route.priceImpactBps === undefined ? 'not known' : percent(impact));
    setText($('chain-fee'), route.chainFee === undefined ? 'not known' : /[1-9]/.test(route.chainFee) ? `${amount(route.chainFee)} ${tokenOut}` : 'none');
    setText($('least'), `${amount(minOut)} ${tokenOut}`);
    $('least').title = `${exact(minOut)} ${tokenOut}`;
    if (level === 'calm') this.showWarning();
    else {
      const lost = Number(route.midPrice) * Number(quote.amount) - Number(quote.amountOut);
      this.showWarning(`You get ${percent(impact)} less than the market's price.`,
        `The order is large for its pools: that costs about ${amount(lost.toFixed(6))} ${tokenOut}, fees included.`);
    }
    const labels = { calm: 'Place order', warn: `Place order ${percent(impact)} below market`, ask: `Review: ${percent(impact)} below market` };
    setText($('submit'), labels[level]);
  }

  showWarning(title = '', text = '') {
    $('warning').hidden = !title;
    if (title && $('warning-title').textContent !== title) announce(`${title} ${text}`);
    setText($('warning-title'), title);
    setText($('warning-text'), text);
  }

  showAge(beat) {
    $('age').hidden = !beat;
    if (!beat) return;
    setText($('age-text'), `Price ${Math.floor(beat.age)} s old, new in ${Math.ceil(beat.left)} s`);
    $('age-ring').style.setProperty('--share', beat.share.toFixed(3));
  }

  // ---- Placing ---------------------------------------------------------------------------------

  async place() {
    // The second click of a double click is no second order.
    const isTwice = performance.now() - this.placedAt < REPEAT_MS;
    if (this.isPlacing || isTwice || !this.check(true)) return;
    this.setPlacing(true);
    try {
      await this.quote.settled(QUOTE_PATIENCE_MS);
      this.quote.hold(true);
      const terms = await this.agreed();
      if (terms) await this.send(terms);
    } finally {
      this.quote.hold(false);
      this.setPlacing(false);
    }
  }

  setPlacing(isSo) {
    this.isPlacing = isSo;
    $('submit').setAttribute('aria-busy', isSo);
  }

  /** Returns the order at the terms that the user has seen, and agrees to; nothing if not. */
  async agreed() {
    if (this.inDoubt) return this.inDoubt;
    const fields = this.fields();
    const { quote } = this.quote;
    if (!fields) return null;
    if (!quote) {
      const text = 'The server has not said what this order is worth. It would trade at the first price that is found, unless that is more than 3 % below the market.';
      return (await ask({ title: 'Trade without knowing the price?', text, yes: 'Place it all the same' })) ? fields : null;
    }
    if (!quote.route) return fields;
    // Whoever decides for longer than the server keeps its word still gets no less than what was shown.
    const promised = () => {
      const quoteId = this.quote.orderableId;
      return { ...fields, ...(quoteId ? { quoteId } : { minOut: quote.minOut }) };
    };
    const impact = quote.route.priceImpactBps ?? 0;
    if (impact < this.askBps) return promised();
    const isAgreed = await ask({
      title: `Lose ${percent(impact)} to the price?`,
      text: 'The order is large for the pools that trade it. Smaller orders, one after the other, usually pay much less.',
      facts: [
        ['You sell', `${exact(quote.amount)} ${quote.tokenIn}`],
        ['You get about', `${amount(quote.amountOut)} ${quote.tokenOut}`],
        ['At the market price', `${amount((Number(quote.route.midPrice) * Number(quote.amount)).toFixed(6))} ${quote.tokenOut}`],
        ['At least', `${amount(quote.minOut)} ${quote.tokenOut}`],
      ],
      consent: `I accept a price ${percent(impact)} below the market.`,
      yes: 'Place it all the same',
    });
    const accepted = Math.min(IMPACT_BPS_MAX, impact + quote.slippageBps);
    return isAgreed ? { ...promised(), maxPriceImpactBps: accepted } : null;
  }

  async send(terms) {
    // Until the server has answered, it may have the order: only the same request again is the same order.
    this.inDoubt = terms;
    try {
      const accepted = await post('/api/orders/execute', { ...terms, clientOrderId: this.key });
      this.inDoubt = undefined;
      this.key = newKey();
      this.placedAt = performance.now();
      this.showFormError();
      this.onPlaced(accepted, terms);
      this.quote.renew();
    } catch (error) {
      if (!(error instanceof Refused)) this.showFormError('The server cannot be reached. Trying again is safe: the order is placed once.');
      else if (error.problem.code === 'outcome-unknown') this.showRefusal(error.problem);
      else {
        this.inDoubt = undefined;
        this.refused(error.problem);
      }
    }
  }

  refused(problem) {
    this.showRefusal(problem);
    this.form.querySelector('[aria-invalid="true"]')?.focus();
    if (problem.code === 'price-impact-too-high') {
      // The server is stricter than the page: with its word, somebody may still ask for it.
      if (problem.priceImpactBps !== undefined) this.askBps = Math.min(this.askBps, problem.priceImpactBps);
      this.offerLess();
    }
    if (problem.errors?.some(({ code }) => code === 'quote-expired')) this.quote.change();
  }

  showRefusal(problem) {
    const rest = [];
    for (const { field, message } of problem.errors ?? []) {
      if (!showError(this.form, field, message)) rest.push(message);
    }
    if (rest.length) this.showFormError(...rest);
    else if (!problem.errors?.length) this.showFormError(problem.detail ?? 'The server refused the order.');
  }

  /** Shows why there is no order; a reason with many parts as a list. */
  showFormError(...messages) {
    const output = $('form-error');
    if (messages.length === 0 && !output.hasChildNodes()) return;
    const token = bySymbol(this.tokenOut.value);
    output.replaceChildren(...messages.flatMap((message) => {
      const { text, parts } = reason(message, token);
      return [element('p', { textContent: parts.length ? `${text}:` : text }), ...reasonList(parts)];
    }));
  }

  /** Offers about the greatest amount that the server takes. It finds out by quotes, so it may not know at once. */
  async offerLess() {
    const { tokenIn, tokenOut } = this.fields() ?? {};
    const refused = this.key;
    for (let tries = 0; tries < LIMIT_TRIES && this.key === refused; tries += 1) {
      const { pairs } = await get('/api/pairs').catch(() => ({ pairs: [] }));
      const greatest = pairs.find((pair) => pair.tokenIn === tokenIn && pair.tokenOut === tokenOut)?.greatest;
      // A form that was changed meanwhile is another order.
      if (this.key !== refused) return;
      if (greatest) {
        showError(this.form, 'amount', `About ${exact(greatest)} ${tokenIn} can be sold at once.`, this.offer('amount', greatest));
        return;
      }
      await new Promise((resolve) => setTimeout(resolve, LIMIT_REST_MS));
    }
  }
}
