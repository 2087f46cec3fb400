// Repetitions of one measurement become one figure here: median, spread, ratio against the rival.
//
// The median, because a shared machine adds outliers on one side only; the spread as smallest and
// largest value, because with three or five repetitions anything finer would pretend. Pure functions:
// no memory is kept, nothing blocks.

/** What repetitions of one measurement came to. */
export interface Summary {
  median: number;
  low: number;
  high: number;
  /** How many repetitions. */
  count: number;
}

/** Which way a figure gets better. */
export type Better = 'lower' | 'higher';

/** Median and spread of at least one value. Throws on none, and on values that are no numbers. */
export function summarize(values: readonly number[]): Summary {
  if (values.length === 0) throw new Error('a figure needs at least one measurement');
  if (!values.every(Number.isFinite)) throw new Error(`not a measurement: ${values.join(', ')}`);
  const sorted = [...values].sort((a, b) => a - b);
  return {
    median: quantile(sorted, 0.5),
    low: sorted[0]!,
    high: sorted[sorted.length - 1]!,
    count: sorted.length,
  };
}

/** The value below which `part` (0…1) of the sorted values lie; linear between neighbours. */
export function quantile(sorted: ArrayLike<number>, part: number): number {
  if (sorted.length === 0) throw new Error('no values');
  const at = part * (sorted.length - 1);
  const below = Math.floor(at);
  const low = sorted[below]!;
  const high = sorted[Math.min(below + 1, sorted.length - 1)]!;
  return low + (high - low) * (at - below);
}

/** How many times better `ours` is than `rival`: above 1 we win, whichever way the unit counts. */
export function advantage(ours: number, rival: number, better: Better): number {
  return better === 'lower' ? rival / ours : ours / rival;
}

/** Slope and start of the least-squares line through the points; throws on fewer than two. */
export function fitLine(points: readonly (readonly [number, number])[]): {
  slope: number;
  start: number;
} {
  if (points.length < 2) throw new Error('a line needs two points');
  const n = points.length;
  const meanX = points.reduce((sum, [x]) => sum + x, 0) / n;
  const meanY = points.reduce((sum, [, y]) => sum + y, 0) / n;
  let above = 0;
  let below = 0;
  for (const [x, y] of points) {
    above += (x - meanX) * (y - meanY);
    below += (x - meanX) ** 2;
  }
  if (below === 0) throw new Error('a line needs two different points');
  const slope = above / below;
  return { slope, start: meanY - slope * meanX };
}

/** Three significant digits, with thousands separated: 0.123, 12.3, 123, 1,234. */
export function formatNumber(value: number): string {
  if (!Number.isFinite(value)) return '–';
  if (value === 0) return '0';
  const size = Math.abs(value);
  if (size >= 100) return Math.round(value).toLocaleString('en-US');
  return value.toFixed(Math.min(6, Math.max(0, 2 - Math.floor(Math.log10(size)))));
}

/** `12.3 (11.9–13.0)`, or the bare number when there was one repetition. */
export function formatSummary({ median, low, high, count }: Summary): string {
  if (count === 1) return formatNumber(median);
  return `${formatNumber(median)} (${formatNumber(low)}–${formatNumber(high)})`;
}
