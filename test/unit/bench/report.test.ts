// The report: goals held against figures, charts, the page and the README's numbers.

import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import type { Figure } from '../../../bench/figures.js';
import { charts } from '../../../bench/page/charts.js';
import { draw } from '../../../bench/page/draw.js';
import { type Goal, standings } from '../../../bench/page/goals.js';
import { renderPage, renderReadme } from '../../../bench/page/markdown.js';
import { REPORT } from '../../../bench/page/publish.js';
import { type Results, readResults } from '../../../bench/results.js';
import { summarize } from '../../../bench/statistics.js';
import { ROOT } from '../../../lab/require.js';

function figure(part: string, name: string, ours: number, rival: number, more = {}): Figure {
  const sides = { ours: summarize([ours]), rival: summarize([rival]) };
  return { part, name, unit: 'µs CPU', better: 'lower', rivalName: 'C', ...sides, ...more };
}

const CPU = 'create + update + delete, 20 k/s';
const FIGURES = [
  figure('active', CPU, 5, 20, { schedulingClass: 'RR 99' }),
  figure('active', CPU, 4, 8, { schedulingClass: 'OTHER' }),
  figure('commit', 'commit of 200 k flows', 140_000, 70_000, { unit: 'flows/s', better: 'higher' }),
  figure('memory', 'RSS active, 0 flows', 80, 7, { unit: 'MiB' }),
  figure('latency', 'event to link, 20 k/s, p99', 3.5, 0.4, { unit: 'ms' }),
];

function results(figures: Figure[], more: Partial<Results> = {}): Results {
  return {
    format: 1,
    quick: false,
    seconds: 12,
    figures,
    machine: {
      date: '2026-01-01T00:00:00.000Z',
      cores: 2,
      processor: 'a processor',
      memoryGiB: 4,
      kernel: '6.1',
      node: 'v20.0.0',
      flowtwin: '0.1.0',
      conntrackd: undefined,
      load: 0.1,
    },
    ...more,
  };
}

describe('a goal', () => {
  const standing = (text: string, schedulingClass = '') =>
    standings(FIGURES).find(
      (row) => row.question.includes(text) && row.schedulingClass === schedulingClass,
    );

  test('is held against the figure of its scheduling class', () => {
    expect(standing('active: CPU an event, 20,000/s', 'RR 99')).toMatchObject({
      reached: '4.00×',
      least: '3×',
      verdict: 'reached',
    });
    expect(standing('active: CPU an event, 20,000/s', 'OTHER')).toMatchObject({
      reached: '2.00×',
      verdict: 'missed',
    });
  });

  test('that bounds ours as well is missed when only the ratio is good', () => {
    expect(standing('commit')).toMatchObject({
      reached: '2.00×',
      least: '1.7×, ≥ 150,000 flows/s',
      verdict: 'missed',
    });
  });

  test('in megabytes is held against mebibytes', () => {
    expect(standing('empty')).toMatchObject({ reached: '83.9 MB', verdict: 'reached' });
  });

  test('of latency is about what ours adds', () => {
    expect(standing('latency')).toMatchObject({ reached: '+3.10 ms', verdict: 'missed' });
  });

  test('is left out when the run has no such figure', () => {
    expect(standing('burst')).toBeUndefined();
    const alone: Goal = {
      kind: 'ratio',
      question: 'q',
      part: 'active',
      name: CPU,
      least: 1,
      aim: 2,
    };
    const [{ rival: _, ...oursOnly }] = [FIGURES[0]!];
    expect(standings([oursOnly], [alone])).toEqual([]);
  });
});

describe('the charts', () => {
  test('are those that have figures, with a gap where one is missing', () => {
    const drawn = charts(FIGURES);
    expect(drawn.map(({ file }) => file)).toEqual(['ratios', 'cpu-active', 'memory', 'rates']);
    const cpu = drawn.find(({ file }) => file === 'cpu-active')!;
    expect(cpu.categories[0]).toBe('20 k/s\nRR 99');
    expect(cpu.series).toEqual([
      { name: 'Flowtwin', values: [5, undefined, undefined, 4, undefined, undefined] },
      { name: 'C daemon', values: [20, undefined, undefined, 8, undefined, undefined] },
    ]);
  });

  test('of ratios carry the goal of each bar', () => {
    const [ratios] = charts(FIGURES);
    expect(ratios!.series[0]!.values).toEqual([4, 2, 2]);
    expect(ratios!.marks).toEqual([3, 3, 1.7]);
  });

  test('become SVG with title, names and values, on a ground for each theme', () => {
    for (const chart of charts(FIGURES)) {
      const [light, dark] = [draw(chart, 'light'), draw(chart, 'dark')];
      expect(light).toMatch(/^<svg /);
      expect(light).toContain(chart.title.replaceAll("'", '&#39;'));
      expect(light).toContain('Flowtwin');
      expect(light).toContain('#ffffff');
      expect(dark).toContain('#0d1117');
      expect(light).not.toContain('NaN');
    }
    expect(draw(charts(FIGURES)[1]!, 'light')).toContain('20.0');
  });
});

describe('the page', () => {
  const text = renderPage(results(FIGURES));

  test('has goals, charts of the parts that ran, and every figure', () => {
    expect(text).toContain('This run reached 2 of 5 goals. **Missed:**');
    expect(text).toContain('- active: CPU an event, 20,000/s (OTHER): 2.00×, the goal is 3×');
    expect(text).toContain('srcset="charts/cpu-active-dark.svg"');
    expect(text).toContain(`| ${CPU} | µs CPU | 5.00 | 20.0 | 4.00× | RR 99 |  |`);
    expect(text).toContain('conntrackd not installed');
    expect(text).not.toContain('## burst');
    expect(text).not.toContain('Not measured');
  });

  test('names what could not be measured', () => {
    const page = renderPage(results(FIGURES, { failures: ['burst of ours: no room'] }));
    expect(page).toContain('**Not measured in this run:**\n\n- burst of ours: no room');
  });

  test('says that it is of a quick run', () => {
    expect(renderPage(results(FIGURES, { quick: true }))).toMatch(/^# Benchmark \(quick run\)/);
  });
});

describe('the numbers in the README', () => {
  const begin = '<!-- numbers: written by npm run bench -- --report -->';
  const end = '<!-- end of numbers -->';

  test('replace those of the run before and nothing else', () => {
    const once = renderReadme(`# X\n${begin}\nold\n${end}\nrest\n`, results(FIGURES));
    expect(once).toMatch(/^# X\n/);
    expect(once).toContain('| active: CPU an event, 20 k/s | 5.00 µs CPU | 20.0 µs CPU | 4.00× |');
    expect(once).not.toContain('old');
    expect(once).toMatch(/\nrest\n$/);
    expect(renderReadme(once, results(FIGURES))).toBe(once);
  });

  test('need their place', () => {
    expect(() => renderReadme('# X\n', results(FIGURES))).toThrow('the README has no lines');
  });
});

describe('what is published', () => {
  const read = (...path: string[]) => readFileSync(join(...path), 'utf8');
  const published = () => readResults(join(REPORT, 'results.json'));

  test('is what the published figures say: page and README', () => {
    const readme = read(ROOT, 'README.md');
    expect(read(REPORT, 'README.md')).toBe(renderPage(published()));
    expect(readme).toBe(renderReadme(readme, published()));
  });

  test('has every chart that the page shows', () => {
    const shown = [...read(REPORT, 'README.md').matchAll(/(?:src|srcset)="([^"]+)"/g)];
    expect(shown.length).toBeGreaterThan(0);
    for (const [, path] of shown) expect(existsSync(join(REPORT, path!)), path).toBe(true);
  });
});
