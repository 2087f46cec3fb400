// Directives that are understood but have no effect in this version. Silence would be a lie: each
// one that the file really contains is named once at start.

import type { Config } from '../config/index.js';

/** Paths of directives without effect yet, and what happens instead. */
const WITHOUT_EFFECT: readonly (readonly [path: string, instead: string])[] = [
  ['General.Filter From Kernelspace', 'events are filtered in user space, with the same meaning'],
  ['General.PollSecs', 'the daemon is driven by events'],
  ['General.EventIterationLimit', 'a turn serves up to 4096 events and 1024 datagrams'],
  ['General.Systemd', 'no notification is sent; use Type=exec in the unit'],
  ['Sync.Options.ExpectationSync', 'expectations are not replicated'],
  ['DisableInternalCache', 'the internal cache stays on'],
  ['DisableExternalCache', 'the external cache stays on; commit it at failover'],
  ['Helper', 'user-space helpers are not run'],
];

/** One line for each such directive that `config` contains. */
export function unsupported(config: Config): string[] {
  const lines: string[] = [];
  for (const [path, instead] of WITHOUT_EFFECT) {
    const found = config.written.find((entry) => matches(entry.path, path));
    if (found === undefined || isHarmless(config, path)) continue;
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

/** A directive that says what happens anyway deserves no warning. */
function isHarmless({ general, sync }: Config, path: string): boolean {
  switch (path) {
    case 'General.Systemd':
      return !general.systemd;
    case 'Sync.Options.ExpectationSync':
      return sync?.expectationSync === false;
    case 'DisableInternalCache':
      return sync?.disableInternalCache === false;
    case 'DisableExternalCache':
      return sync?.disableExternalCache === false;
    default:
      return false;
  }
}
