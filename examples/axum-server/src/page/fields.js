// What is wrong with a form, said at its fields, for as long as it is wrong.

import { element, setText } from './dom.js';
import { bySymbol } from './tokens.js';

/** Shows what is wrong with a field, and what would mend it: `{label, mend}`. Without a message, nothing is wrong. */
export function showError(form, field, message = '', offer) {
  const output = form.querySelector(`[data-error-for="${CSS.escape(field)}"]`);
  if (!output) return false;
  const [text, old] = [output.querySelector('span') ?? output.appendChild(element('span')), output.querySelector('button')];
  setText(text, message);
  old?.remove();
  if (message && offer) {
    const button = element('button', { type: 'button', className: 'mend', textContent: offer.label });
    button.addEventListener('click', offer.mend);
    output.append(button);
  }
  const input = form.querySelector(`[name="${CSS.escape(field)}"]`);
  if (message) input?.setAttribute('aria-invalid', 'true');
  else input?.removeAttribute('aria-invalid');
  return true;
}

/** Shows that nothing is wrong any more. */
export function clearErrors(form) {
  for (const output of form.querySelectorAll('[data-error-for]')) showError(form, output.dataset.errorFor);
}

const DECIMAL = /^\d+(\.\d+)?$|^\.\d+$/;

/** Returns why a text is no amount of a token: `{message, better}`, where `better` is what was meant, if that can be guessed. */
export function amountError(text, symbol) {
  if (text === '') return { message: 'Enter how much you sell.' };
  const decimals = bySymbol(symbol)?.decimals;
  const bare = text.replace(/[\s'_\u00a0\u202f]/g, '');
  if (/^\d{1,3}(,\d{3}){2,}(\.\d+)?$/.test(bare) || /^\d{1,3}(,\d{3})+\.\d+$/.test(bare)) {
    return { message: 'Write the amount without commas:', better: bare.replaceAll(',', '') };
  }
  if (/^\d*,\d+$/.test(bare)) {
    return { message: 'Decimals stand behind a point:', better: bare.replace(/^,/, '0,').replace(',', '.') };
  }
  if (bare !== text && DECIMAL.test(bare)) return { message: 'Write the amount without spaces:', better: bare };
  if (/^-/.test(bare)) return { message: 'The amount must be greater than zero.' };
  if (!DECIMAL.test(text)) return { message: 'Write the amount in digits, such as 1.5.' };
  if (!/[1-9]/.test(text)) return { message: 'The amount must be greater than zero.' };
  const fraction = text.split('.')[1] ?? '';
  if (decimals !== undefined && fraction.length > decimals) {
    return { message: `${symbol} has ${decimals} decimals at most:`, better: text.slice(0, text.length - fraction.length + decimals) };
  }
  return undefined;
}

/** Returns why a text is no slippage tolerance in percent. */
export function slippageError(text) {
  if (/^\d*,\d+$/.test(text)) return { message: 'Decimals stand behind a point:', better: text.replace(',', '.').replace(/^\./, '0.') };
  if (!DECIMAL.test(text)) return { message: 'Write a percentage, such as 0.5.' };
  if (Number(text) > 100) return { message: 'At most 100 %.' };
  if ((text.split('.')[1] ?? '').length > 2) return { message: 'Two decimals at most.' };
  return undefined;
}
