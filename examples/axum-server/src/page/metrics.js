// Reads metrics in the text format of Prometheus, and makes series of them.

const LINE = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)/;
const LABEL = /(\w+)="((?:[^"\\]|\\.)*)"/g;

/** Returns the samples of a text, by the name of their metric: `{labels, value}` each. */
export function parse(text) {
  const metrics = new Map();
  for (const line of text.split('\n')) {
    const match = line.startsWith('#') ? null : LINE.exec(line);
    if (!match) continue;
    const labels = Object.fromEntries([...(match[2] ?? '').matchAll(LABEL)].map(([, name, value]) => [name, value]));
    const samples = metrics.get(match[1]) ?? [];
    samples.push({ labels, value: Number(match[3]) });
    metrics.set(match[1], samples);
  }
  return metrics;
}

/** Returns the sum of the samples of a metric that have these labels; nothing if there are none. */
export function sum(metrics, name, wanted = {}) {
  const fits = ({ labels }) => Object.entries(wanted).every(([label, value]) => labels[label] === value);
  const samples = (metrics.get(name) ?? []).filter(fits);
  return samples.length ? samples.reduce((total, { value }) => total + value, 0) : undefined;
}

/** Returns the cumulative buckets of a histogram, by their upper bounds, over all samples with these labels. */
export function buckets(metrics, name, wanted = {}) {
  const bounds = new Map();
  for (const { labels, value } of metrics.get(`${name}_bucket`) ?? []) {
    if (!Object.entries(wanted).every(([label, one]) => labels[label] === one)) continue;
    const bound = labels.le === '+Inf' ? Infinity : Number(labels.le);
    bounds.set(bound, (bounds.get(bound) ?? 0) + value);
  }
  return bounds;
}

/** Returns what came to the buckets of a histogram between two readings. A process that began anew counts from zero. */
export function bucketsSince(before, now) {
  const began = [...now].some(([bound, count]) => count < (before.get(bound) ?? 0));
  return new Map([...now].map(([bound, count]) => [bound, began ? count : count - (before.get(bound) ?? 0)]));
}

/** Returns a quantile of a histogram, in the units of its bounds, as Prometheus estimates it; nothing of an empty one. */
export function quantile(cumulative, share) {
  const sorted = [...cumulative].sort(([one], [other]) => one - other);
  const all = sorted.at(-1)?.[1] ?? 0;
  if (all === 0) return undefined;
  const rank = share * all;
  let [lower, below] = [0, 0];
  for (const [bound, count] of sorted) {
    if (count >= rank && count > below) return bound === Infinity ? lower : lower + (bound - lower) * ((rank - below) / (count - below));
    [lower, below] = [bound, count];
  }
  return lower;
}

/** Returns the rate of a counter between two readings, in units a second. */
export const rate = (before, now, seconds) => (now >= before ? now - before : now) / seconds;
