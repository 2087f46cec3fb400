// Directives that are understood but have no effect in this version. Silence would be a lie: each
// one that the file really contains is named once at start.

import type { Config } from '../config/index.js';

/** Paths of directives without effect yet, and what happens instead. */
const WITHOUT_EFFECT: readonly (readonly [path: string, instead: string])[] = [
  ['Helper', 'user-space helpers are not run'],
];

/** One line for each such directive that `config` contains. */
export function unsupported(config: Config): string[] {
  const lines: string[] = [];
  for (const [path, instead] of WITHOUT_EFFECT) {
    const found = config.written.find((entry) => matches(entry.path, path));
    if (found === undefined) continue;
    lines.push(
      `${config.file}:${found.line}: \`${path.split('.').at(-1)}' has no effect in this version: ` +
        `${instead}`,
    );
  }
  return lines;
}

function matches(written: string, path: string): boolean {
  return written === path || written.endsWith(`.${path}`) || written.includes(`.${path} `);
}
