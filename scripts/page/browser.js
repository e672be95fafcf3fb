// Chromium from the distribution's packages, driven over a pipe by its DevTools protocol. Needs nothing but node.
'use strict';

const assert = require('node:assert/strict');
const fs = require('node:fs');
const path = require('node:path');
const { spawnSync } = require('node:child_process');
const { pause, scratch, start, within } = require('./processes');

/** What the browser itself notes when a server is away or refuses something, which some steps want to see. */
const EXPECTED = {
  away: /ERR_CONNECTION_(REFUSED|RESET)|ERR_SOCKET_NOT_CONNECTED|ERR_EMPTY_RESPONSE|WebSocket connection/,
  401: /\b401\b/,
  403: /\b403\b/,
  404: /\b404\b|WebSocket connection/,
  409: /\b409\b/,
  422: /\b422\b/,
};

class Browser {
  constructor() {
    const chromium = ['chromium', 'chromium-browser', 'google-chrome'].find((name) => spawnSync('which', [name]).status === 0);
    assert.ok(chromium, 'no Chromium: apt-get install chromium');
    const child = start(chromium, [
      '--headless', '--no-sandbox', '--disable-gpu', '--disable-background-networking', '--disable-dev-shm-usage', '--hide-scrollbars',
      '--no-first-run', '--remote-debugging-pipe', `--user-data-dir=${path.join(scratch, 'browser')}`, 'about:blank',
    ], { stdio: ['ignore', 'ignore', 'ignore', 'pipe', 'pipe'] });
    [this.input, this.output] = [child.stdio[3], child.stdio[4]];
    this.waiting = new Map();
    this.tabs = new Map();
    this.lastId = 0;
    let buffer = '';
    // A browser that is killed ends its pipes in the middle of a message.
    for (const pipe of [this.input, this.output]) pipe.on('error', () => {});
    this.output.setEncoding('utf8');
    this.output.on('data', (chunk) => {
      const messages = (buffer + chunk).split('\0');
      buffer = messages.pop();
      for (const message of messages) this.take(JSON.parse(message));
    });
  }

  take(message) {
    if (!message.id) {
      this.tabs.get(message.sessionId)?.take(message);
      return;
    }
    const { resolve, reject } = this.waiting.get(message.id);
    this.waiting.delete(message.id);
    if (message.error) reject(new Error(message.error.message));
    else resolve(message.result);
  }

  call(method, params = {}, sessionId = undefined) {
    const id = ++this.lastId;
    const answer = new Promise((resolve, reject) => this.waiting.set(id, { resolve, reject }));
    this.input.write(JSON.stringify({ id, method, params, sessionId }) + '\0');
    return within(answer, method);
  }

  /** Opens a tab, which is empty. */
  async tab() {
    const { targetId } = await this.call('Target.createTarget', { url: 'about:blank' });
    const { sessionId } = await this.call('Target.attachToTarget', { targetId, flatten: true });
    const tab = new Tab(this, sessionId, targetId);
    this.tabs.set(sessionId, tab);
    for (const domain of ['Page', 'Runtime', 'Log']) await tab.call(`${domain}.enable`);
    await tab.resize(1280, 820);
    return tab;
  }

  close() {
    return this.call('Browser.close').catch(() => {});
  }
}

class Tab {
  constructor(browser, sessionId, targetId) {
    Object.assign(this, { browser, sessionId, targetId });
    this.complaints = [];
    this.listeners = new Map();
  }

  /** Calls back with each event of this name. */
  on(method, listener) {
    this.listeners.set(method, listener);
  }

  take({ method, params }) {
    this.listeners.get(method)?.(params);
    if (method === 'Runtime.exceptionThrown') {
      this.complain(params.exceptionDetails.exception?.description ?? 'an exception');
    } else if (method === 'Log.entryAdded' && params.entry.level === 'error') {
      this.complain(`${params.entry.text} ${params.entry.url ?? ''}`);
    } else if (method === 'Runtime.consoleAPICalled' && params.type === 'error') {
      this.complain(params.args.map(({ value }) => value).join(' '));
    }
  }

  /** Notes what the browser complains of, and during which step. */
  complain(text) {
    this.complaints.push(`${this.browser.step}: ${text}`);
  }

  /** Forgets what a step wants the browser to note. */
  forgive(...kinds) {
    this.complaints = this.complaints.filter((text) => !kinds.some((kind) => EXPECTED[kind].test(text)));
  }

  call(method, params = {}) {
    return this.browser.call(method, params, this.sessionId);
  }

  close() {
    return this.browser.call('Target.closeTarget', { targetId: this.targetId });
  }

  async open(url) {
    await this.call('Page.navigate', { url });
    await this.until("document.body?.dataset.ready === 'true'");
  }

  async reload() {
    await this.value("document.body.dataset.old = 'true'");
    await this.call('Page.reload');
    await this.until("document.body && !document.body.dataset.old && document.body.dataset.ready === 'true'");
  }

  /** The value of an expression in the page, or what a promise of it comes to. */
  async value(expression) {
    const { result, exceptionDetails } = await this.call('Runtime.evaluate', { expression, returnByValue: true, awaitPromise: true });
    assert.equal(exceptionDetails, undefined, `${expression}: ${exceptionDetails?.exception?.description}`);
    return result.value;
  }

  /** Waits until an expression in the page is true. */
  async until(expression) {
    const poll = async () => {
      while (!(await this.value(expression).catch(() => false))) await pause(20);
    };
    await within(poll(), expression).catch(async (error) => {
      await this.picture('stuck');
      throw error;
    });
  }

  async resize(width, height, mobile = false) {
    this.width = width;
    await this.call('Emulation.setDeviceMetricsOverride', { width, height, mobile, deviceScaleFactor: 1 });
  }

  /** Shows the page as people see it who prefer a dark or a light one. */
  async scheme(value) {
    const features = [{ name: 'prefers-color-scheme', value }, { name: 'prefers-reduced-motion', value: 'reduce' }];
    await this.call('Emulation.setEmulatedMedia', { features });
  }

  /** Takes a picture of what is seen, or of the whole page. */
  async picture(name, { whole = false } = {}) {
    let clip;
    if (whole) {
      const { cssContentSize: { width, height } } = await this.call('Page.getLayoutMetrics');
      clip = { x: 0, y: 0, width, height, scale: 1 };
    }
    const { data } = await this.call('Page.captureScreenshot', { format: 'png', captureBeyondViewport: whole, clip });
    fs.mkdirSync(Tab.pictures, { recursive: true });
    fs.writeFileSync(path.join(Tab.pictures, `${name}.png`), Buffer.from(data, 'base64'));
  }

  /** Types into a field as a person does, so that the page notices. */
  async fill(id, text) {
    await this.value(`document.getElementById('${id}').focus(); document.getElementById('${id}').select()`);
    if (text) await this.call('Input.insertText', { text });
    else await this.press('Backspace');
  }

  async press(key) {
    const codes = { Enter: 13, Escape: 27, Tab: 9, ArrowDown: 40, ArrowUp: 38, Backspace: 8, ' ': 32 };
    const event = { key, code: key === ' ' ? 'Space' : key, windowsVirtualKeyCode: codes[key], ...(key === 'Enter' && { text: '\r' }), ...(key === ' ' && { text: ' ' }) };
    await this.call('Input.dispatchKeyEvent', { type: 'keyDown', ...event });
    await this.call('Input.dispatchKeyEvent', { type: 'keyUp', ...event, text: undefined });
  }

  /** Clicks where an element is, so that something on top of it would be noticed. */
  async click(selector) {
    const { x, y, hit } = await this.value(`(() => {
      const target = document.querySelector(${JSON.stringify(selector)});
      target.scrollIntoView({ block: 'center', behavior: 'instant' });
      const box = target.getBoundingClientRect();
      const at = { x: box.x + box.width / 2, y: box.y + box.height / 2 };
      const top = document.elementFromPoint(at.x, at.y);
      const isHit = top && (target.contains(top) || top.contains(target) || top.closest('label')?.contains(target));
      return { ...at, hit: isHit ? '' : (top?.outerHTML ?? 'nothing').slice(0, 200) };
    })()`);
    assert.equal(hit, '', `${selector} is covered`);
    for (const type of ['mousePressed', 'mouseReleased']) {
      await this.call('Input.dispatchMouseEvent', { type, x, y, button: 'left', clickCount: 1 });
    }
  }

  text(id) {
    return this.value(`document.getElementById('${id}').textContent.trim()`);
  }

  count(selector) {
    return this.value(`document.querySelectorAll(${JSON.stringify(selector)}).length`);
  }
}

/** Where pictures are left. */
Tab.pictures = '';

module.exports = { Browser, Tab };
