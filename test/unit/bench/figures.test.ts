// Figures: from repetitions to a table, and an old run beside a new one.

import { describe, expect, test } from 'vitest';
import { Collector, compare, ratioOf, renderTable } from '../../../bench/figures.js';

const CPU = {
  part: 'active',
  name: 'create, 20 k/s',
  unit: 'µs CPU',
  better: 'lower',
  rivalName: 'C',
  schedulingClass: 'RR 99',
} as const;

function collect(ours: number[], rival: number[]): Collector {
  const collector = new Collector();
  for (const value of ours) collector.add('ours', CPU, value);
  for (const value of rival) collector.add('rival', CPU, value);
  return collector;
}

describe('the collector', () => {
  test('gathers the repetitions of both sides in one figure', () => {
    const [figure, ...rest] = collect([5, 4, 6], [20, 10]).figures();
    expect(rest).toEqual([]);
    expect(figure).toMatchObject({
      ours: { median: 5, low: 4, high: 6, count: 3 },
      rival: { median: 15, low: 10, high: 20, count: 2 },
    });
    expect(ratioOf(figure!)).toBe(3);
  });

  test('keeps scheduling classes apart', () => {
    const collector = collect([5], [20]);
    collector.add('ours', { ...CPU, schedulingClass: 'OTHER' }, 4);
    expect(collector.figures().map(({ schedulingClass }) => schedulingClass)).toEqual([
      'RR 99',
      'OTHER',
    ]);
  });
});

describe('the ratio', () => {
  test('is missing without a rival and when both lost nothing', () => {
    expect(ratioOf(collect([5], []).figures()[0]!)).toBeUndefined();
    expect(ratioOf(collect([0], [0]).figures()[0]!)).toBeUndefined();
  });
});

describe('the table', () => {
  test('is aligned and leaves out columns without content', () => {
    const collector = collect([5], [20]);
    collector.add('ours', { ...CPU, name: 'x' }, 1234);
    const lines = renderTable(collector.figures()).split('\n');
    expect(lines[0]).toBe('active');
    expect(lines[2]).toBe('  create, 20 k/s  µs CPU   5.00   20.0  C           4.00×  RR 99');
    expect(lines[3]).toBe('  x               µs CPU  1,234      –                     RR 99');
  });
});

describe('the comparison', () => {
  test('tells how much better each figure became, and the ratio to the rival', () => {
    const text = compare(collect([10], [20]).figures(), collect([5], [20]).figures());
    expect(text).toMatch(
      /active: create, 20 k\/s +µs CPU +10\.0 +5\.00 +2\.00× +RR 99 +2\.00× → 4\.00×/,
    );
  });

  test('says so when nothing is in both', () => {
    expect(compare([], collect([5], [20]).figures())).toBe('nothing to compare');
  });
});
