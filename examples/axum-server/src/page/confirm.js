// Asks again before an order that would lose much, or whose price nobody knows.

import { $, element, setText } from './dom.js';

/**
 * Asks, and returns whether the answer was yes. `facts` are names and values; `consent` is what has to be ticked first, if anything.
 */
export function ask({ title, text, facts = [], consent, yes }) {
  const dialog = $('confirm');
  setText($('confirm-title'), title);
  setText($('confirm-text'), text);
  $('confirm-facts').replaceChildren(...facts.flatMap(([name, value]) => [
    element('dt', { textContent: name }), element('dd', { textContent: value }),
  ]));
  $('confirm-consent').hidden = !consent;
  setText($('confirm-consent-text'), consent ?? '');
  $('confirm-tick').checked = false;
  $('confirm-yes').disabled = Boolean(consent);
  setText($('confirm-yes'), yes);
  return new Promise((resolve) => {
    dialog.returnValue = '';
    dialog.addEventListener('close', () => resolve(dialog.returnValue === 'yes'), { once: true });
    dialog.showModal();
  });
}

/** Makes the dialog's controls work. */
export function prepareToAsk() {
  const dialog = $('confirm');
  $('confirm-tick').addEventListener('change', () => {
    $('confirm-yes').disabled = !$('confirm-tick').checked;
  });
  $('confirm-yes').addEventListener('click', () => dialog.close('yes'));
  $('confirm-no').addEventListener('click', () => dialog.close(''));
}
