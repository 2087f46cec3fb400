// Which dedicated link is sent on, told as an operator would see it. A simulated pair of nodes at
// the end shows that both always meet on a link that works.

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  HOLD,
  NO_LINK,
  PROBE_FIRST,
  PROBE_MOST,
  Selection,
  SILENCE,
  SILENCE_MOST,
  STABLE,
} from '../../../src/channel/selection.js';
import type { LinkStatus } from '../../../src/kernel/links.js';

const START = 100_000;

function running(count: number): LinkStatus[] {
  return new Array<LinkStatus>(count).fill('RUNNING');
}

describe('a link without carrier', () => {
  test('is left for the first other one that has carrier', () => {
    const selection = new Selection(['RUNNING', 'NO-CARRIER', 'DOWN', 'RUNNING'], 0, true, START);
    const move = selection.changed(0, 'NO-CARRIER', START + 10);
    expect(move).toEqual({ from: 0, to: 3, reason: 'carrier', again: false });
    expect(selection.current).toBe(3);
  });

  test('is left rather for one where the peer was heard', () => {
    const selection = new Selection(running(3), 0, true, START);
    selection.heard(0, START);
    selection.heard(2, START + 1); // follows
    selection.heard(0, START + 2);
    expect(selection.current).toBe(0);
    expect(selection.changed(0, 'DOWN', START + 10)).toMatchObject({ to: 2 });
  });

  test('is left already at start', () => {
    const selection = new Selection(['DOWN', 'RUNNING'], 0, true, START);
    expect(selection.flee(START)).toMatchObject({ from: 0, to: 1 });
  });

  test('is kept, and said to be useless, when no other has carrier', () => {
    const selection = new Selection(['RUNNING', 'DOWN'], 0, true, START);
    expect(selection.changed(0, 'NO-CARRIER', START + 1)).toBe(NO_LINK);
    expect(selection.current).toBe(0);
    // The first one that comes back is taken at once.
    expect(selection.changed(1, 'RUNNING', START + 2)).toMatchObject({ to: 1 });
  });

  test('is taken again when it had carrier for long enough, not before', () => {
    const selection = new Selection(running(2), 0, true, START);
    selection.changed(0, 'NO-CARRIER', START);
    const listen = (now: number): void => {
      selection.heard(1, now);
    };
    selection.changed(0, 'RUNNING', START + 1000);
    listen(START + 3000);
    selection.changed(0, 'NO-CARRIER', START + 4000); // flaps: the wait begins anew
    selection.changed(0, 'RUNNING', START + 5000);
    listen(START + 5000 + STABLE - 1);
    expect(selection.tick(START + 5000 + STABLE - 1)).toBeUndefined();
    expect(selection.tick(START + 5000 + STABLE)).toMatchObject({ to: 0, reason: 'return' });
  });
});

describe('a silent peer', () => {
  test('is looked for on the next link with carrier', () => {
    const selection = new Selection(['RUNNING', 'DOWN', 'RUNNING'], 0, true, START);
    selection.heard(0, START + 500);
    expect(selection.tick(START + 500 + SILENCE)).toBeUndefined();
    expect(selection.tick(START + 501 + SILENCE)).toMatchObject({ to: 2, reason: 'silence' });
  });

  test('means nothing where peers speak only of changes', () => {
    const selection = new Selection(running(2), 0, false, START);
    expect(selection.tick(START + 1_000_000)).toBeUndefined();
    expect(selection.takeProbe(START + 1_000_000)).toBe(false);
  });

  test('is looked for ever more rarely, and not told each time', () => {
    const selection = new Selection(running(2), 0, true, START);
    const moves: { at: number; again: boolean }[] = [];
    for (let now = START; now < START + 3_600_000; now += 100) {
      const move = selection.tick(now);
      if (move !== undefined) moves.push({ at: now, again: move.again });
    }
    expect(moves.filter(({ again }) => !again)).toHaveLength(2);
    const gaps = moves.slice(1).map(({ at }, i) => at - moves[i]!.at);
    expect(Math.min(...gaps)).toBeGreaterThanOrEqual(SILENCE);
    expect(gaps.at(-1)).toBeGreaterThanOrEqual(SILENCE_MOST);
    expect(gaps.at(-1)).toBeLessThan(SILENCE_MOST + 200);
    // Heard again: the next silence counts from the beginning.
    const later = START + 3_600_000;
    selection.heard(selection.current, later);
    expect(selection.tick(later + SILENCE + 1)).toMatchObject({ again: false });
  });

  test('is not looked for when there is no other link with carrier', () => {
    const selection = new Selection(['RUNNING', 'DOWN'], 0, true, START);
    expect(selection.tick(START + 60_000)).toBeUndefined();
  });
});

describe('a peer on another link', () => {
  test('is followed', () => {
    const selection = new Selection(running(2), 0, true, START);
    expect(selection.heard(1, START + 1)).toMatchObject({ from: 0, to: 1, reason: 'peer' });
  });

  test('is not followed to a link whose end here has no carrier', () => {
    const selection = new Selection(['RUNNING', 'NO-CARRIER'], 0, true, START);
    expect(selection.heard(1, START + 1)).toBeUndefined();
    expect(selection.current).toBe(0);
  });

  test('is not followed right after a move of our own', () => {
    const selection = new Selection(running(2), 0, true, START);
    selection.tick(START + SILENCE + 1);
    expect(selection.current).toBe(1);
    const moved = START + SILENCE + 1;
    expect(selection.heard(0, moved + HOLD - 1)).toBeUndefined();
    expect(selection.heard(0, moved + HOLD)).toMatchObject({ to: 0 });
  });

  test('that answers on the default link does not take us away again with old datagrams', () => {
    const selection = new Selection(running(2), 0, true, START);
    selection.heard(1, START + 1);
    selection.heard(0, START + 10_000);
    expect(selection.heard(1, START + 10_001)).toBeUndefined();
    expect(selection.current).toBe(0);
  });
});

describe('probes of the default link', () => {
  test('go out while another link is in use for want of an answer there', () => {
    const selection = new Selection(running(2), 0, true, START);
    selection.tick(START + SILENCE + 1);
    const probes: number[] = [];
    for (let now = START; now < START + 300_000; now += 500) {
      selection.heard(1, now);
      if (selection.takeProbe(now)) probes.push(now - START);
    }
    expect(probes[0]).toBeGreaterThanOrEqual(SILENCE + PROBE_FIRST);
    const gaps = probes.slice(1).map((at, i) => at - probes[i]!);
    expect(gaps[0]).toBeGreaterThanOrEqual(PROBE_FIRST);
    expect(gaps.at(-1)).toBe(PROBE_MOST);
  });

  test('do not go out on a link without carrier, nor on the link in use', () => {
    const selection = new Selection(running(2), 0, true, START);
    expect(selection.takeProbe(START + 60_000)).toBe(false);
    selection.heard(1, START + 60_000);
    selection.changed(0, 'NO-CARRIER', START + 60_001);
    expect(selection.takeProbe(START + 120_000)).toBe(false);
  });
});

/** A node as far as links go: speaks every second on its link, and at once when it was probed. */
interface Simulated {
  selection: Selection;
  spokeAt: number;
}

/** The two nodes for `duration` ms; `works` says which links carry messages. */
function simulate(nodes: Simulated[], works: boolean[], start: number, duration: number): void {
  for (let now = start; now < start + duration; now += 100) {
    nodes.forEach((node, i) => {
      const other = nodes[1 - i]!;
      node.selection.tick(now);
      const spoken: number[] = [];
      if (node.selection.takeProbe(now)) spoken.push(0);
      if (now - node.spokeAt >= 1000) {
        spoken.push(node.selection.current);
        node.spokeAt = now;
      }
      for (const link of spoken) if (works[link]) other.selection.heard(link, now);
    });
  }
}

describe('two nodes', () => {
  test('meet on a working link, and on the default one when that works', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 2, max: 4 }),
        fc.array(fc.array(fc.boolean(), { minLength: 4, maxLength: 4 }), { maxLength: 4 }),
        fc.nat(999),
        (count, faults, phase) => {
          const nodes = [0, phase].map((delay) => ({
            selection: new Selection(running(count), 0, true, START),
            spokeAt: START - delay,
          }));
          let now = START;
          for (const works of faults) {
            simulate(nodes, works.slice(0, count), now, 120_000);
            now += 120_000;
            const [first, second] = nodes.map(({ selection }) => selection.current);
            if (!works.slice(0, count).includes(true)) continue;
            expect(works[first!], 'the first node is on a working link').toBe(true);
            expect(second).toBe(first);
            if (works[0]) expect(first).toBe(0);
          }
        },
      ),
      { numRuns: 200 },
    );
  });
});
