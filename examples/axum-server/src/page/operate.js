// The page of operators.

import { Attention } from './attention.js';
import { prepareToAsk } from './confirm.js';
import { Deliveries } from './deliveries.js';
import { $, setText } from './dom.js';
import { Failures } from './failures.js';
import { Overview } from './overview.js';
import { Pauses } from './pauses.js';
import { credential, offerToForget, onBack, reasonOf, Refused } from './session.js';
import { chain, loadMarket } from './tokens.js';

let pauseCount;
let failureCount;

const attention = new Attention();
const deliveries = new Deliveries();
const failures = new Failures((orderId) => attention.open(orderId));
const pauses = new Pauses();
const overview = new Overview((stats, failed) => {
  pauses.showHalted(stats.isHalted);
  // Another operator, or another process, may have changed something.
  if (stats.pauses !== pauseCount) pauses.load().catch(() => {});
  pauseCount = stats.pauses;
  attention.load(stats.backlog?.attention).catch(() => {});
  if (failed !== failureCount) failures.load();
  failureCount = failed;
  if (stats.backlog) deliveries.showSinks(stats.backlog.sinks);
  document.title = stats.isHalted ? 'HALTED · order-engine'
    : stats.backlog?.attention ? `(${stats.backlog.attention}) Operate · order-engine` : 'Operate · order-engine';
});

/** Shows what this key may see, or says that it may not. */
async function begin() {
  try {
    await overview.read();
  } catch (error) {
    const isForbidden = error instanceof Refused && error.status === 403;
    $('forbidden').hidden = false;
    setText($('forbidden-text'), isForbidden ? error.message : reasonOf(error));
    $('other-key').hidden = !isForbidden || !credential.get();
    return;
  }
  $('forbidden').hidden = true;
  $('desktop').hidden = false;
  await Promise.all([
    pauses.load(),
    deliveries.load(),
    failures.load(),
    // A key may operate and not read: then amounts of orders are shown, and those of the chain are not.
    loadMarket().then(() => {
      setText($('chain'), chain.name);
      $('chain-badge').hidden = false;
      $('chain-badge').dataset.simulated = chain.isSimulated;
    }, () => {}),
  ]);
  overview.run();
}

async function start() {
  prepareToAsk();
  offerToForget();
  $('other-key').addEventListener('click', () => $('forget-key').click());
  onBack(() => ($('desktop').hidden ? begin() : overview.read().catch(() => {})));
  await begin();
  document.body.dataset.ready = 'true';
}

start();
