// How the engine is: what it does in a second, how long that takes, what waits, and what is not well.

import { Chart } from './chart.js';
import { $, element, setText } from './dom.js';
import { count, duration, measure } from './format.js';
import { buckets, bucketsSince, parse, quantile, rate, sum } from './metrics.js';
import { get, send } from './session.js';

const POLL_MS = 2000;
/** How far back the charts go at first, and at most. */
const SPAN_MIN_S = 60;
const SPAN_S = 300;
/** Over which time the latency is told: a quantile of few orders says little. */
const WINDOW_S = 30;

const ORDERS = 'order_engine_orders_total';
const SECONDS = 'order_engine_order_seconds';

export class Overview {
  /** `onStats` gets each state of the engine, and how many orders have failed in this process, if that is known. */
  constructor(onStats) {
    this.onStats = onStats;
    this.readings = [];
    const format = (value) => measure(value);
    this.throughput = new Chart($('throughput'), {
      title: 'Orders a second', format,
      series: [{ name: 'accepted', kind: 'second' }, { name: 'confirmed', kind: 'first' }, { name: 'failed', kind: 'bad' }],
    });
    this.latency = new Chart($('latency'), {
      title: 'From acceptance to finality', format: duration,
      series: [{ name: '95 % within', kind: 'second' }, { name: 'half within', kind: 'first' }],
    });
    this.waiting = new Chart($('waiting'), {
      title: 'Orders that are not finished', format,
      series: [{ name: 'to execute', kind: 'first' }, { name: 'to observe', kind: 'second' }],
    });
  }

  /** Reads the state again and again while somebody looks at it. */
  async run() {
    for (;;) {
      if (!document.hidden) await this.read().catch(() => {});
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    }
  }

  /** Reads the state now. */
  async read() {
    const stats = await get('/api/operator/stats');
    this.showStats(stats);
    const response = await send('/metrics');
    $('no-metrics').hidden = response.ok;
    if (response.ok) this.add(parse(await response.text()), stats);
    this.onStats(stats, this.readings.at(-1)?.counts.failed);
  }

  add(metrics, { backlog }) {
    const at = performance.now() / 1000;
    const status = (name) => sum(metrics, ORDERS, { status: name }) ?? 0;
    this.readings.push({
      at, metrics,
      counts: { accepted: status('pending'), confirmed: status('confirmed'), failed: status('failed') },
      latency: buckets(metrics, SECONDS, { status: 'confirmed' }),
      execute: backlog?.execute.orders, observe: backlog?.observe.orders,
    });
    while (this.readings[0].at < at - SPAN_S - WINDOW_S) this.readings.shift();
    this.showCharts();
  }

  showCharts() {
    const { readings } = this;
    const throughput = readings.map((now, index) => {
      const before = readings[index - 1];
      const speed = (name) => before && rate(before.counts[name], now.counts[name], now.at - before.at);
      return { at: now.at, values: ['accepted', 'confirmed', 'failed'].map(speed) };
    });
    const latency = readings.map((now, index) => {
      const before = readings.slice(0, index).findLast(({ at }) => at <= now.at - WINDOW_S) ?? readings[0];
      const since = before === now ? new Map() : bucketsSince(before.latency, now.latency);
      return { at: now.at, values: [quantile(since, 0.95), quantile(since, 0.5)] };
    });
    const span = Math.min(SPAN_S, Math.max(SPAN_MIN_S, readings.at(-1).at - readings[0].at));
    for (const chart of [this.throughput, this.latency, this.waiting]) chart.spanS = span;
    this.throughput.show(throughput);
    this.latency.show(latency);
    this.waiting.show(readings.map(({ at, execute, observe }) => ({ at, values: [execute, observe] })));
    const [speed, time] = [throughput.at(-1).values[1], latency.at(-1).values];
    setText($('speed'), speed === undefined ? '–' : measure(speed));
    setText($('median'), time[1] === undefined ? '–' : duration(time[1]));
    setText($('slowest'), time[0] === undefined ? 'no order ended lately' : `95 % within ${duration(time[0])}`);
  }

  showStats(stats) {
    const { backlog } = stats;
    const due = backlog ? backlog.execute.due + backlog.observe.due : undefined;
    setText($('backlog'), backlog ? measure(backlog.execute.orders + backlog.observe.orders) : '–');
    setText($('due'), backlog ? (due ? `${count(due, 'order')} due for ${duration(Math.max(backlog.execute.dueForMs ?? 0, backlog.observe.dueForMs ?? 0) / 1000)}` : 'nothing is late') : 'the store does not say');
    setText($('attention-count'), backlog ? measure(backlog.attention) : '–');
    $('attention-tile').dataset.tone = backlog?.attention ? 'wait' : 'calm';
    setText($('attention-note'), backlog?.attention ? 'an operator is needed' : 'nobody is needed');
    setText($('streams'), measure(stats.streams));
    this.showParts(stats);
  }

  /** Lists the parts of the engine, and what is wrong with each. */
  showParts(stats) {
    const parts = [
      ['Store', stats.isWritable ? `takes writes, durability ${stats.durability}` : 'takes no writes', stats.isWritable],
      ['Workers', stats.isStalled ? 'no worker takes orders' : count(stats.workers, 'worker'), !stats.isStalled],
      ['Fan-out', stats.sourcesConnected ? 'connected' : 'not connected', stats.sourcesConnected],
      ...stats.venues.map(({ name, isBuilding, isObserving, view }) => [`Venue ${name}`,
        isBuilding && isObserving ? (view ? `final at height ${measure(view.finalized)}` : 'answers') : `does not ${isBuilding ? 'observe' : isObserving ? 'build' : 'answer'}`,
        isBuilding && isObserving]),
      ...stats.missingVenues.map((name) => [`Venue ${name}`, 'is not in this process, and orders name it', false]),
      ...stats.panicked.map(({ name, panics, lastPanic }) => [name, `${count(panics, 'panic')}, the last: ${lastPanic}`, false]),
      ...(stats.isStopping ? [['Process', 'is stopping', false]] : []),
    ];
    const rows = parts.map(([name, state, isWell]) => element('li', { data: { well: isWell } },
      element('span', { className: 'part', textContent: name }), element('span', { textContent: state })));
    if ($('parts').textContent !== rows.map(({ textContent }) => textContent).join('')) $('parts').replaceChildren(...rows);
  }
}
