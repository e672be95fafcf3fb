// The page of those who trade: the form, the order that is followed, and the recent orders.

import { prepareToAsk } from './confirm.js';
import { $, setText } from './dom.js';
import { OrderFeed } from './feed.js';
import { OrderForm } from './form.js';
import { amount } from './format.js';
import { OrderView } from './order.js';
import { OrderList } from './orders.js';
import { offerToForget, onBack, reasonOf } from './session.js';
import { chain, loadMarket } from './tokens.js';

const STREAM = { connecting: 'connecting…', live: 'live', reconnecting: 'reconnecting…' };

let feed;
let orders = [];
const list = new OrderList((orderId, summary) => {
  follow(orderId, summary);
  view.present();
});
const view = new OrderView(() => {});
const form = new OrderForm((accepted, { amount: sold, tokenIn, tokenOut }) => {
  follow(accepted.orderId, `${amount(sold)} ${tokenIn} → ${tokenOut}`);
  view.present();
});

function follow(orderId, summary) {
  view.follow(orderId, summary);
  list.show(orders, orderId);
}

function openFeed() {
  feed ??= new OrderFeed({
    show: (newest) => {
      orders = newest;
      list.show(orders, view.orderId);
    },
    showState: (state) => {
      $('stream').dataset.state = state;
      setText($('stream'), STREAM[state] ?? '');
    },
  });
}

/** Loads what the form needs. Without it nothing can be traded, so it is tried until it works. */
async function begin() {
  try {
    await loadMarket();
  } catch (error) {
    setText($('tokens-error'), `The tokens cannot be loaded. ${reasonOf(error)}`);
    return;
  }
  setText($('tokens-error'), '');
  $('chain').textContent = chain.name;
  $('chain-badge').hidden = false;
  $('chain-badge').dataset.simulated = chain.isSimulated;
  form.begin();
  openFeed();
  document.body.dataset.ready = 'true';
}

const followHash = () => {
  const orderId = decodeURIComponent(location.hash.slice(1));
  // The hash of the skip link is no order.
  if (orderId && !$(orderId) && orderId !== view.orderId) follow(orderId);
};

prepareToAsk();
offerToForget();
$('tokens-retry').addEventListener('click', begin);
addEventListener('hashchange', followHash);
onBack(() => (document.body.dataset.ready ? form.quote.change() : begin()));
begin().then(() => document.body.dataset.ready && followHash());
