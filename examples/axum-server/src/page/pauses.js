// What is paused, and the kill switch.

import { ask } from './confirm.js';
import { $, announce, element, setText } from './dom.js';
import { clearErrors, showError } from './fields.js';
import { get, post, reasonOf, Refused } from './session.js';

/** The fields that name a scope. */
const SCOPES = { all: [], venue: ['venue'], pair: ['tokenIn', 'tokenOut'], user: ['userId'] };

export class Pauses {
  constructor() {
    this.form = $('pause-form');
    this.form.addEventListener('submit', (event) => {
      event.preventDefault();
      this.pause();
    });
    $('pause-scope').addEventListener('change', () => this.showScope());
    $('halt').addEventListener('click', () => this.halt());
    $('unhalt').addEventListener('click', () => this.unhalt());
    this.showScope();
  }

  async load() {
    const { pauses } = await get('/api/operator/pauses');
    this.show(pauses);
  }

  /** Shows whether everything is halted. */
  showHalted(isHalted) {
    if (isHalted === this.isHalted) return;
    if (isHalted) announce('Everything is halted: no order is accepted or sent.');
    this.isHalted = isHalted;
    $('halted').hidden = !isHalted;
    $('halt').hidden = isHalted;
  }

  showScope() {
    const wanted = SCOPES[$('pause-scope').value];
    for (const label of this.form.querySelectorAll('[data-scope]')) label.hidden = !wanted.includes(label.dataset.scope);
  }

  show(pauses) {
    $('no-pauses').hidden = pauses.length > 0;
    $('pauses').replaceChildren(...pauses.map((pause) => {
      const resume = element('button', { type: 'button', className: 'quiet small', textContent: 'Resume', attributes: { 'aria-label': `Resume ${titleOf(pause)}` } });
      resume.addEventListener('click', () => this.resume(pause));
      return element('li', {}, element('div', {}, element('strong', { textContent: titleOf(pause) }),
        element('span', { className: 'note', textContent: `${pause.reason} · since ${new Date(pause.since).toLocaleTimeString([], { hour12: false })}`, title: new Date(pause.since).toLocaleString() })), resume);
    }));
  }

  async act(path, body, done) {
    clearErrors(this.form);
    setText($('pause-error'), '');
    try {
      const { pauses } = await post(path, body);
      this.show(pauses);
      announce(done);
      this.onChange?.();
      return true;
    } catch (error) {
      const rest = error instanceof Refused ? (error.problem.errors ?? []).filter(({ field, message }) => !showError(this.form, field, message)) : [];
      if (!(error instanceof Refused) || !error.problem.errors?.length || rest.length) setText($('pause-error'), rest[0]?.message ?? reasonOf(error));
      this.form.querySelector('[aria-invalid="true"]')?.focus();
      return false;
    }
  }

  async pause() {
    const fields = Object.fromEntries(new FormData(this.form));
    const wanted = SCOPES[fields.scope].map((name) => [name, fields[name].trim()]);
    const body = { activity: fields.activity, reason: fields.reason.trim(), ...Object.fromEntries(wanted) };
    if (await this.act('/api/operator/pauses', body, 'Paused.')) $('pause-reason').value = '';
  }

  resume({ activity, venue, tokenIn, tokenOut, userId }) {
    const scope = Object.fromEntries(Object.entries({ venue, tokenIn, tokenOut, userId }).filter(([, value]) => value !== undefined));
    return this.act('/api/operator/pauses/end', { activity, ...scope }, 'Resumed.');
  }

  async halt() {
    const reason = $('pause-reason').value.trim();
    if (!reason) {
      showError(this.form, 'reason', 'Say why, first: the audit log keeps it.');
      $('pause-reason').focus();
      return;
    }
    const text = 'No order is accepted, and nothing is signed or sent, in every process on this store. What was sent goes on being observed.';
    const isSure = await ask({ title: 'Halt everything?', text, facts: [['Reason', reason]], yes: 'Halt everything' });
    if (isSure && await this.act('/api/operator/halt', { reason }, 'Everything is halted.')) this.showHalted(true);
  }

  async unhalt() {
    const text = 'Sending and accepting are resumed for all orders. Pauses of a venue, a pair or a user stay.';
    const isSure = await ask({ title: 'End the halt?', text, yes: 'End the halt' });
    if (isSure && await this.act('/api/operator/halt/end', {}, 'The halt has ended.')) this.showHalted(false);
  }
}

function titleOf({ activity, scope, venue, tokenIn, tokenOut, userId }) {
  const whose = { all: 'all orders', venue: `venue ${venue}`, pair: `${tokenIn} → ${tokenOut}`, user: `user ${userId}` }[scope] ?? 'some orders';
  return `${activity[0].toUpperCase()}${activity.slice(1)} · ${whose}`;
}
