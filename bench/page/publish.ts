// Writes the report: `npm run bench -- --report` after a run, `npm run bench:report [FILE]` again from
// the figures of an earlier run (default: the published ones) without measuring.
//
//   bench/report/results.json ─▶ README.md, charts/*.svg  and the numbers in the project's README

import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { ROOT } from '../../lab/require.js';
import { UsageError } from '../options.js';
import { type Results, readResults, writeResults } from '../results.js';
import { charts } from './charts.js';
import { draw, THEMES } from './draw.js';
import { renderPage, renderReadme } from './markdown.js';

export const REPORT = join(ROOT, 'bench', 'report');
const README = join(ROOT, 'README.md');

export function publish(results: Results): void {
  const folder = join(REPORT, 'charts');
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  writeResults(join(REPORT, 'results.json'), results);
  for (const chart of charts(results.figures)) {
    for (const theme of THEMES) {
      writeFileSync(join(folder, `${chart.file}-${theme}.svg`), draw(chart, theme));
    }
  }
  writeFileSync(join(REPORT, 'README.md'), renderPage(results));
  writeFileSync(README, renderReadme(readFileSync(README, 'utf8'), results));
  process.stderr.write(`the report is in ${REPORT}\n`);
}

function main([file = join(REPORT, 'results.json')]: string[]): void {
  try {
    publish(readResults(file));
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    process.stderr.write(`${error.message}\nusage: npm run bench:report [-- RESULTS.json]\n`);
    process.exitCode = 2;
  }
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) main(process.argv.slice(2));
