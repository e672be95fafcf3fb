// What all modules make the page of. Text is never parsed as HTML.

import { ago } from './format.js';

export const $ = (id) => document.getElementById(id);

/** Returns an element with properties and children. `data` and `attributes` are objects of what else it has. */
export function element(tag, { data, attributes, ...properties } = {}, ...children) {
  const node = Object.assign(document.createElement(tag), properties);
  Object.assign(node.dataset, data);
  for (const [name, value] of Object.entries(attributes ?? {})) node.setAttribute(name, value);
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

/** Returns an element of a drawing. */
export function drawn(tag, attributes = {}, ...children) {
  const node = document.createElementNS('http://www.w3.org/2000/svg', tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

/** Sets a text only if it is another one, so that screen readers and selections are left in peace. */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** Tells screen readers what changed. The same words are not told twice in a row. */
export function announce(text) {
  setText($('announcements'), text);
}

/** How often ages are told anew. */
const AGES_MS = 5000;

/** Returns how long ago a time was, which stays right while it is shown. */
export function age(time) {
  return element('time', { dateTime: time, title: new Date(time).toLocaleString(), textContent: ago(time), data: { age: 'true' } });
}

setInterval(() => {
  for (const node of document.querySelectorAll('time[data-age]')) setText(node, ago(node.dateTime));
}, AGES_MS);

/** Returns a button that copies a text. */
export function copyButton(text, label) {
  const button = element('button', { type: 'button', className: 'copy', title: label }, copyIcon(),
    element('span', { className: 'hidden', textContent: label }));
  button.addEventListener('click', async () => {
    const isCopied = await copy(text);
    button.dataset.copied = isCopied;
    announce(isCopied ? 'Copied.' : 'The browser does not allow to copy.');
    setTimeout(() => delete button.dataset.copied, 1500);
  });
  return button;
}

function copyIcon() {
  const icon = drawn('svg', { viewBox: '0 0 16 16', 'aria-hidden': 'true', class: 'icon' });
  icon.append(
    drawn('rect', { x: 5.5, y: 5.5, width: 8, height: 8, rx: 1.6, class: 'copy-sheet' }),
    drawn('path', { d: 'M10.5 5.5V3.6a1.1 1.1 0 0 0-1.1-1.1H3.6a1.1 1.1 0 0 0-1.1 1.1v5.8a1.1 1.1 0 0 0 1.1 1.1h1.9', class: 'copy-sheet' }),
    drawn('path', { d: 'M7.5 9.6l1.5 1.5 2.7-3', class: 'copy-done' }),
  );
  return icon;
}

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // Outside of secure contexts there is no clipboard but the selection's.
    const field = element('textarea', { value: text, className: 'hidden' });
    document.body.append(field);
    field.select();
    const isCopied = document.execCommand('copy');
    field.remove();
    return isCopied;
  }
}

/** Calls back with the width of an element, now and whenever it changes. */
export function onWidth(node, draw) {
  let width = 0;
  new ResizeObserver(([{ contentRect }]) => {
    if (Math.round(contentRect.width) === width) return;
    width = Math.round(contentRect.width);
    draw(width);
  }).observe(node);
}
