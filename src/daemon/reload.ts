// SIGHUP: what of a changed configuration file can take effect at once. Pure: two configurations in,
// out the one to run with from now on and what became of each difference. Caches, sockets and links
// are made once, so what shapes them waits for the next start; the operator is told, a line each.

import type { Config } from '../config/index.js';

/** Fields that take effect at once. */
const AT_ONCE = {
  general: [
    'logFile',
    'syslog',
    'netlinkBufferSizeMaxGrowth',
    'netlinkOverrunResync',
    'coalesceTime',
    'filter',
  ],
  sync: ['commitTimeout', 'purgeTimeout'],
  stats: ['logFile', 'syslog', 'logFormat'],
} as const;

/** Fields that are no directives. */
const SILENT = new Set(['line', 'modeGiven', 'schedulerSet']);

/** Names of directives that are not their field's name with a capital letter. */
const NAMES: Record<string, string> = {
  unixPath: 'UNIX Path',
  ackWindowSize: 'ACKWindowSize',
  tcpWindowTracking: 'TCPWindowTracking',
  links: 'the dedicated links',
};

type Section = keyof typeof AT_ONCE;
type Fields = Record<string, unknown>;

export interface ReloadPlan {
  /** The running configuration with what takes effect at once. */
  config: Config;
  /** Directives that take effect now, as `General LogFile`. */
  applied: string[];
  /** Directives that wait for the next start. */
  waiting: string[];
}

export function planReload(running: Config, wanted: Config): ReloadPlan {
  const config: Config & Fields = { ...running };
  const plan: ReloadPlan = { config, applied: [], waiting: [] };
  for (const section of Object.keys(AT_ONCE) as Section[]) {
    const before = running[section];
    const after = wanted[section];
    if (before === undefined && after === undefined) continue;
    if (before === undefined || after === undefined) plan.waiting.push(`section ${title(section)}`);
    else Object.assign(config, { [section]: merge(section, before, after, plan) });
  }
  if (!same(running.helper, wanted.helper)) plan.waiting.push('section Helper');
  plan.applied.sort();
  plan.waiting.sort();
  return plan;
}

function merge(section: Section, before: object, after: object, plan: ReloadPlan): object {
  const old = before as Fields;
  const merged: Fields = { ...old };
  const next = after as Fields;
  for (const field of new Set([...Object.keys(old), ...Object.keys(next)])) {
    if (SILENT.has(field) || same(old[field], next[field])) continue;
    const name = `${title(section)} ${NAMES[field] ?? title(field)}`;
    const atOnce = (AT_ONCE[section] as readonly string[]).includes(field);
    if (!atOnce) {
      plan.waiting.push(name);
      continue;
    }
    plan.applied.push(name);
    if (next[field] === undefined) delete merged[field];
    else merged[field] = next[field];
  }
  return merged;
}

/** Equal but for the places in the file. */
function same(a: unknown, b: unknown): boolean {
  const text = (value: unknown): string | undefined =>
    JSON.stringify(value, (key, inner) => (key === 'line' ? undefined : inner));
  return text(a) === text(b);
}

function title(name: string): string {
  return name.charAt(0).toUpperCase() + name.slice(1);
}
