// What holds in every state of the page.
'use strict';

const assert = require('node:assert/strict');
const { spawnSync } = require('node:child_process');
const fs = require('node:fs');
const path = require('node:path');
const { root } = require('./processes');

const home = path.join(root, 'target', 'page-tools');
/** Of controls to what is beside them, as WCAG 1.4.11 wants it. */
const CONTRAST_MIN = 3;

/** Installs axe-core, of the version and the checksum in the lock file, and returns its source. */
function axeSource() {
  fs.mkdirSync(home, { recursive: true });
  const lock = fs.readFileSync(path.join(__dirname, 'package-lock.json'), 'utf8');
  const installed = path.join(home, 'package-lock.json');
  const source = path.join(home, 'node_modules', 'axe-core', 'axe.min.js');
  if (!fs.existsSync(source) || !fs.existsSync(installed) || fs.readFileSync(installed, 'utf8') !== lock) {
    for (const name of ['package.json', 'package-lock.json']) fs.copyFileSync(path.join(__dirname, name), path.join(home, name));
    const npm = spawnSync('npm', ['ci', '--prefix', home, '--no-audit', '--no-fund', '--ignore-scripts'], { encoding: 'utf8' });
    assert.equal(npm.status, 0, `npm cannot install axe-core:\n${npm.stderr}`);
  }
  return fs.readFileSync(source, 'utf8');
}

let axe;

/** Nobody meets a barrier: axe-core finds none, by day and by night, and all controls can be seen and have a name. */
async function assertNoBarriers(tab, state) {
  axe ??= axeSource();
  // By the protocol, because the page's policy lets no script in.
  await tab.value(`${axe}; typeof axe`);
  for (const scheme of ['dark', 'light']) {
    await tab.scheme(scheme);
    const findings = await tab.value(`axe.run(document, { resultTypes: ['violations'] }).then(({ violations }) => violations.map(({ id, nodes }) =>
      id + ': ' + nodes.map(({ target, any }) => target.join(' ') + ' (' + any.map(({ message }) => message).join('; ') + ')').join(', ')))`);
    assert.deepEqual(findings, [], `${state}, ${scheme}`);
    assert.deepEqual(await tab.value(dimControls), [], `${state}, ${scheme}: borders of controls`);
  }
  await assertNothingSticksOut(tab);
}

/** Controls with a border whose contrast to what is behind them is too low. */
const dimControls = `(() => {
  const channels = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const luminance = ([r, g, b]) => [r, g, b].map((c) => c / 255).map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (node) => {
    for (let at = node; at; at = at.parentElement) {
      const colour = channels(getComputedStyle(at).backgroundColor);
      if (colour.length < 4 || colour[3] > 0) return colour;
    }
    return [255, 255, 255];
  };
  const contrast = (one, other) => {
    const [low, high] = [luminance(one), luminance(other)].sort((a, b) => a - b);
    return (high + 0.05) / (low + 0.05);
  };
  const controls = [...document.querySelectorAll('input:not([type=checkbox], [type=radio]), select, .side:has(input:not([role])), .quiet, .presets span')];
  return controls.filter((node) => node.offsetParent).flatMap((node) => {
    const { borderTopWidth, borderTopColor } = getComputedStyle(node);
    if (parseFloat(borderTopWidth) === 0 || channels(borderTopColor)[3] === 0) return [];
    const is = contrast(channels(borderTopColor), behind(node.parentElement));
    return is < ${CONTRAST_MIN} ? [(node.id || node.className || node.tagName) + ' ' + is.toFixed(2)] : [];
  });
})()`;

/** The page is as wide as the screen. A phone would make itself as wide as the page, so it is not asked. */
async function assertNothingSticksOut(tab) {
  const [width, culprits] = await tab.value(`[document.documentElement.scrollWidth, [...document.body.querySelectorAll('*')]
    .filter((node) => node.getBoundingClientRect().right > ${tab.width} + 0.5).slice(0, 5).map(({ tagName, id, className }) => tagName + '#' + id + '.' + className)]`);
  assert.ok(width <= tab.width, `the page is ${width} wide on a screen of ${tab.width}: ${culprits}`);
}

const status = (text) => `document.getElementById('status').textContent === '${text}'`;

/** The timeline must show every event once and in order. Events that say the same are one line with several numbers. */
async function assertWholeTimeline(tab, least = 7) {
  const seqs = await tab.value("[...document.querySelectorAll('#timeline [data-seq]')].flatMap((item) => item.dataset.seq.split(' ').map(Number))");
  assert.ok(seqs.length >= least, `a whole life has more than ${seqs.length} events`);
  assert.deepEqual(seqs, seqs.map((_, index) => index + 1));
}

/** Waits for the quote of the order in the form. */
const quoted = (tab) => tab.until("!document.getElementById('terms').hidden");

module.exports = { assertNoBarriers, assertNothingSticksOut, assertWholeTimeline, quoted, status };
