// Has the backup got everything? Compares the active daemon's internal cache with the backup's
// external cache, entry by entry, through the dumps that both daemons offer (-i and -e).
//
// An external entry shows the original tuple only, so the reply tuple is checked later, in the
// kernel's table after a commit (see table.ts). A mark of 0 may be shown or not: both are equal. Ages
// are left out; right after the start of an entry the C daemon's can be -1.

import { type Daemon, REQUEST } from './daemon.js';
import { flowKey, parseFields } from './table.js';
import { waitFor } from './wait.js';

/** Flow key to what both dumps show of it. */
export type CacheDump = Map<string, string>;

/** Parses the plain text of `-i` or `-e`. */
export function parseCacheDump(text: string): CacheDump {
  const dump: CacheDump = new Map();
  for (const line of text.split('\n')) {
    if (line.trim() === '') continue;
    const words = line
      .replace(/ \[(active since|expires in) -?\d+s\]/g, '')
      .trim()
      .split(/\s+/);
    const state = words[2]?.includes('=') ? '' : (words[2] ?? '');
    const { tuples, status, named } = parseFields(words.slice(state ? 3 : 2));
    const [orig] = tuples;
    if (!orig) throw new Error(`not a cache entry: ${line}`);
    const key = flowKey(words[0] ?? '', orig, named.zone ?? '0');
    const seen = [state, ...status, `mark=${named.mark ?? 0}`, `helper=${named.helper ?? ''}`];
    dump.set(key, seen.join(' ').trim());
  }
  return dump;
}

/** Differences between the two caches, a line each; empty when they are equal. */
export async function compareCaches(active: Daemon, backup: Daemon): Promise<string[]> {
  const [internal, external] = await Promise.all([
    active.request(REQUEST.internal).then(parseCacheDump),
    backup.request(REQUEST.external).then(parseCacheDump),
  ]);
  const lines: string[] = [];
  for (const [key, seen] of internal) {
    const other = external.get(key);
    if (other === undefined) lines.push(`missing on ${backup.label}: ${key} ${seen}`);
    else if (other !== seen) lines.push(`${key}: active ${seen}, backup ${other}`);
  }
  for (const key of external.keys()) {
    if (!internal.has(key)) lines.push(`only on ${backup.label}: ${key}`);
  }
  return lines;
}

/**
 * Waits until the backup's external cache equals the active internal cache and holds at least
 * `atLeast` flows. Resolves with the number of flows.
 */
export async function waitReplicated(
  active: Daemon,
  backup: Daemon,
  atLeast: number,
  timeout = 20_000,
): Promise<number> {
  let differences: string[] = [];
  return await waitFor(
    async () => {
      differences = await compareCaches(active, backup);
      const { external } = await backup.caches();
      return differences.length === 0 && external.active >= atLeast && external.active;
    },
    {
      for: `${backup.label} to hold the ${atLeast} or more flows of ${active.label}`,
      timeout,
      every: 200,
      explain: () => {
        const lines = differences.slice(0, 15).map((line) => `  ${line}`);
        return [`${differences.length} differences`, ...lines].join('\n');
      },
    },
  );
}

/** Waits until a daemon of ours knows its peer, and so what the peer can take. */
export async function waitAcquainted(daemon: Daemon): Promise<void> {
  await waitFor(
    async () => {
      const shown = JSON.parse(await daemon.client('-s', 'network', '-o', 'json'));
      return shown.comparison.external === 'equal';
    },
    {
      for: `${daemon.label} to know what its peer can take`,
      every: 200,
      explain: () => daemon.log(),
    },
  );
}
