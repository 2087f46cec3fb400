// Which pairings the lab tests run, and whether this machine can run them at all.
//
// FLOWTWIN_LAB_REFERENCE=1 adds the C daemon on both sides: it shows that the lab itself is right.

import { describe } from 'vitest';
import { PAIRINGS, type Programs, REFERENCE } from '../../lab/pair.js';
import { missingPrograms, missingRoot } from '../../lab/require.js';

const NEEDED = ['ip', 'nft', 'conntrack', 'conntrackd', 'ping', 'mount'];

const missing = missingRoot() ?? missingPrograms(NEEDED);
if (missing) process.stderr.write(`lab tests are skipped: ${missing}\n`);

const rows = process.env.FLOWTWIN_LAB_REFERENCE ? [...PAIRINGS, REFERENCE] : PAIRINGS;

/** `describe` once per pairing, named `ours -> C` (active -> backup). */
export function describePairings(body: (programs: Programs) => void): void {
  for (const programs of rows) {
    const name = `${programs.active.name} -> ${programs.backup.name}`;
    describe.skipIf(missing !== undefined)(name, () => body(programs));
  }
}

/** `describe` for tests that need the lab but no pairing. */
export function describeLab(name: string, body: () => void): void {
  describe.skipIf(missing !== undefined)(name, body);
}
