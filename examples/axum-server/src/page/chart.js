// A chart of lines over the last minutes.

import { drawn, onWidth } from './dom.js';
import { duration } from './format.js';

const HEIGHT = 150;
const MARGIN = { top: 10, right: 12, bottom: 22, left: 54 };
/** The steps between the lines of the grid. */
const STEPS = [1, 2, 5, 10];

export class Chart {
  /** `series` are `{name, kind}`; `format` makes a text of a value. `spanS` is how far back the chart goes. */
  constructor(box, { title, series, format }) {
    Object.assign(this, { box, title, series, format, spanS: 60 });
    this.points = [];
    onWidth(box, () => this.draw());
  }

  /** Shows these points: `{at, values}` each, with a time in seconds and a value or nothing for each series. */
  show(points) {
    this.points = points;
    this.draw();
  }

  draw() {
    const width = this.box.clientWidth;
    if (width === 0) return;
    const now = this.points.at(-1)?.at ?? 0;
    const known = this.points.flatMap(({ values }) => values).filter((value) => value !== undefined);
    const top = ceiling(Math.max(0, ...known));
    const x = (at) => MARGIN.left + (1 - (now - at) / this.spanS) * (width - MARGIN.left - MARGIN.right);
    const y = (value) => HEIGHT - MARGIN.bottom - (value / top) * (HEIGHT - MARGIN.top - MARGIN.bottom);
    const drawing = drawn('svg', { class: 'chart', viewBox: `0 0 ${width} ${HEIGHT}`, width, height: HEIGHT, role: 'img', 'aria-label': this.inWords() });
    drawing.append(...this.grid(top, width, y));
    this.series.forEach((series, index) => drawing.append(...this.line(series, index, x, y)));
    this.box.replaceChildren(drawing);
  }

  grid(top, width, y) {
    const lines = [0, top / 2, top].flatMap((value) => [
      drawn('line', { class: 'grid', x1: MARGIN.left, x2: width - MARGIN.right, y1: y(value), y2: y(value) }),
      drawn('text', { class: 'axis', x: MARGIN.left - 8, y: y(value) + 4, 'text-anchor': 'end' }, this.format(value)),
    ]);
    return [...lines,
      drawn('text', { class: 'axis', x: MARGIN.left, y: HEIGHT - 5 }, `${duration(Math.round(this.spanS))} ago`),
      drawn('text', { class: 'axis', x: width - MARGIN.right, y: HEIGHT - 5, 'text-anchor': 'end' }, 'now')];
  }

  /** Draws a series, with gaps where nothing is known. */
  line({ kind }, index, x, y) {
    let path = '';
    let isDrawing = false;
    let last;
    for (const { at, values } of this.points) {
      const value = values[index];
      if (value === undefined) {
        isDrawing = false;
        continue;
      }
      // What is older than the chart goes back is left out.
      if (x(at) < MARGIN.left) continue;
      path += `${isDrawing ? 'L' : 'M'}${x(at).toFixed(1)} ${y(value).toFixed(1)}`;
      [isDrawing, last] = [true, [x(at), y(value)]];
    }
    if (!last) return [];
    return [drawn('path', { class: `line ${kind}`, d: path }), drawn('circle', { class: `dot ${kind}`, cx: last[0], cy: last[1], r: 3.5 })];
  }

  inWords() {
    const latest = this.points.at(-1)?.values ?? [];
    const said = this.series.map(({ name }, index) => `${name} ${latest[index] === undefined ? 'unknown' : this.format(latest[index])}`);
    return `${this.title} over the last ${duration(Math.round(this.spanS))}; now: ${said.join(', ')}.`;
  }
}

/** Returns a round number that is not below a value. */
function ceiling(value) {
  if (value <= 0) return 1;
  const magnitude = 10 ** Math.floor(Math.log10(value));
  return STEPS.map((step) => step * magnitude).find((step) => step >= value);
}
