// A field in which a token is searched and chosen: the pattern "combobox" of the ARIA Authoring Practices Guide.

import { $, element } from './dom.js';
import { brief } from './format.js';
import { tokens } from './tokens.js';

export class TokenField {
  /** `onChoice` gets the symbol that was chosen. The field shows another one only if `value` is set. */
  constructor(id, onChoice) {
    this.input = $(id);
    this.list = $(`${id}-list`);
    this.onChoice = onChoice;
    this.chosen = '';
    this.options = [];
    this.active = -1;
    this.input.addEventListener('focus', () => this.input.select());
    this.input.addEventListener('click', () => this.open(''));
    this.input.addEventListener('input', () => this.open(this.input.value));
    this.input.addEventListener('keydown', (event) => this.key(event));
    this.input.addEventListener('blur', () => this.close());
    // The field keeps its focus while somebody points at the list.
    this.list.addEventListener('pointerdown', (event) => event.preventDefault());
    this.list.addEventListener('click', (event) => {
      const option = event.target.closest('[role=option]');
      if (option) this.choose(option.dataset.symbol);
    });
  }

  get value() {
    return this.chosen;
  }

  set value(symbol) {
    this.chosen = symbol;
    this.input.value = symbol;
  }

  get isOpen() {
    return !this.list.hidden;
  }

  open(text) {
    const wanted = text.trim().toLowerCase();
    const fits = ({ symbol, mint }) => symbol.toLowerCase().includes(wanted) || mint.toLowerCase().startsWith(wanted);
    const found = tokens().filter(fits);
    this.options = found.map(({ symbol, mint }, index) => element('li', {
      id: `${this.list.id}-${index}`,
      data: { symbol },
      attributes: { role: 'option', 'aria-selected': symbol === this.chosen },
    }, element('span', { className: 'symbol', textContent: symbol }), element('span', { className: 'mint', textContent: brief(mint, 4) })));
    const none = element('li', { className: 'none', textContent: 'No such token', attributes: { role: 'option', 'aria-disabled': true, 'aria-selected': false } });
    this.list.replaceChildren(...(found.length ? this.options : [none]));
    this.list.hidden = false;
    this.input.setAttribute('aria-expanded', 'true');
    const chosen = found.findIndex(({ symbol }) => symbol === this.chosen);
    this.activate(wanted ? 0 : chosen);
  }

  close() {
    this.list.hidden = true;
    this.input.setAttribute('aria-expanded', 'false');
    this.input.removeAttribute('aria-activedescendant');
    this.input.value = this.chosen;
  }

  activate(index) {
    this.options[this.active]?.removeAttribute('data-active');
    this.active = this.options.length ? (index + this.options.length) % this.options.length : -1;
    const option = this.options[this.active];
    if (!option) {
      this.input.removeAttribute('aria-activedescendant');
      return;
    }
    option.dataset.active = 'true';
    option.scrollIntoView({ block: 'nearest' });
    this.input.setAttribute('aria-activedescendant', option.id);
  }

  choose(symbol) {
    const isAnother = symbol !== this.chosen;
    this.value = symbol;
    this.close();
    if (isAnother) this.onChoice(symbol);
  }

  key(event) {
    const { key } = event;
    if (key === 'ArrowDown' || key === 'ArrowUp') {
      event.preventDefault();
      if (!this.isOpen) this.open('');
      else this.activate(this.active + (key === 'ArrowDown' ? 1 : -1));
    } else if (key === 'Enter' && this.isOpen) {
      event.preventDefault();
      const option = this.options[this.active];
      if (option) this.choose(option.dataset.symbol);
    } else if (key === 'Escape' && this.isOpen) {
      event.preventDefault();
      this.close();
    }
  }
}
