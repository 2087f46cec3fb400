// Medians, spreads and ratios: what every figure of the bench goes through.

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  advantage,
  fitLine,
  formatNumber,
  formatSummary,
  quantile,
  summarize,
} from '../../../bench/statistics.js';

describe('a summary of repetitions', () => {
  test('is the median with the smallest and the largest', () => {
    expect(summarize([3, 1, 2])).toEqual({ median: 2, low: 1, high: 3, count: 3 });
    expect(summarize([4, 1])).toEqual({ median: 2.5, low: 1, high: 4, count: 2 });
  });

  test('refuses nothing and what is no number', () => {
    expect(() => summarize([])).toThrow('at least one');
    expect(() => summarize([1, Number.NaN])).toThrow('not a measurement');
  });

  test('does not depend on the order and leaves the values alone', () => {
    fc.assert(
      fc.property(fc.array(fc.integer(), { minLength: 1 }), (values) => {
        const copy = [...values];
        const { median, low, high } = summarize(values);
        expect(values).toEqual(copy);
        expect(summarize([...values].reverse())).toEqual(summarize(values));
        expect(low <= median && median <= high).toBe(true);
        const below = values.filter((value) => value < median).length;
        const above = values.filter((value) => value > median).length;
        expect(Math.abs(below - above)).toBeLessThanOrEqual(values.length - below - above);
      }),
    );
  });
});

describe('quantiles', () => {
  test('lie between neighbours', () => {
    expect(quantile([0, 10], 0.5)).toBe(5);
    expect(quantile(Float64Array.of(1, 2, 3, 4, 5), 0.25)).toBe(2);
    expect(quantile([1, 2, 3], 1)).toBe(3);
    expect(quantile([7], 0.999)).toBe(7);
    expect(() => quantile([], 0.5)).toThrow('no values');
  });
});

describe('the advantage', () => {
  test('is above 1 when ours is better, whichever way the unit counts', () => {
    expect(advantage(2, 8, 'lower')).toBe(4);
    expect(advantage(8, 2, 'higher')).toBe(4);
    expect(advantage(8, 2, 'lower')).toBe(0.25);
  });
});

describe('a line through sizes', () => {
  test('finds slope and start', () => {
    const points = [0, 100, 1000].map((x): [number, number] => [x, 7 + 3 * x]);
    const { slope, start } = fitLine(points);
    expect(slope).toBeCloseTo(3);
    expect(start).toBeCloseTo(7);
  });

  test('needs two different points', () => {
    expect(() => fitLine([[1, 1]])).toThrow('two points');
    expect(() =>
      fitLine([
        [1, 1],
        [1, 2],
      ]),
    ).toThrow('different');
  });
});

describe('numbers for readers', () => {
  test.each([
    [0, '0'],
    [0.012345, '0.0123'],
    [1.2345, '1.23'],
    [12.345, '12.3'],
    [123.45, '123'],
    [1234567, '1,234,567'],
    [-1.5, '-1.50'],
    [Number.NaN, '–'],
  ])('%d is %s', (value, text) => {
    expect(formatNumber(value)).toBe(text);
  });

  test('show the spread when there is one', () => {
    expect(formatSummary(summarize([5]))).toBe('5.00');
    expect(formatSummary(summarize([1, 2, 4]))).toBe('2.00 (1.00–4.00)');
  });
});
