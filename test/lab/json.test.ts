// What a monitoring program asks for: every view and every cache as JSON. And what it is told by a
// C daemon, which has none.

import { expect, test } from 'vitest';
import { C, OURS } from '../../lab/daemon.js';
import { withPair } from '../../lab/pair.js';
import { parseCacheDump, waitReplicated } from '../../lab/replication.js';
import { startClient, startServer, variety } from '../../lab/traffic.js';
import { describeLab } from './matrix.js';

const VIEWS = ['', 'ct', 'network', 'cache', 'runtime', 'link', 'rsqueue', 'process', 'queue'];

describeLab('-o json', () => {
  test('every view is one object, every flow of a dump a line', async () => {
    const plan = variety(1);
    await withPair({ active: OURS, backup: OURS }, async ({ topology, active, backup }) => {
      await startServer(topology);
      await startClient(topology, plan);
      await waitReplicated(active, backup, plan.length);
      for (const view of VIEWS) {
        const text = await active.client('-s', ...(view === '' ? [] : [view]), '-o', 'json');
        expect(text.trim().split('\n')).toHaveLength(1);
        const shown = JSON.parse(text) as { view: string };
        expect(shown.view).toBe(view === '' || view === 'ct' ? 'general' : view);
      }
      const general = JSON.parse(await active.client('-o', 'json', '-s')) as {
        caches: { name: string; active: number }[];
      };
      expect(general.caches.map(({ name, active: living }) => [name, living])).toEqual([
        ['internal', plan.length],
        ['external', 0],
      ]);
      for (const [daemon, option] of [
        [active, '-i'],
        [backup, '-e'],
      ] as const) {
        const plain = parseCacheDump(await daemon.client(option));
        const lines = (await daemon.client(option, '-o', 'json')).trim().split('\n');
        expect(lines).toHaveLength(plain.size);
        for (const line of lines) {
          const flow = JSON.parse(line) as {
            original: { src: string; dst: string; protocol: number };
            active: number;
          };
          expect(flow.active).toBeGreaterThanOrEqual(0);
          const { src, dst, protocol } = flow.original;
          expect([6, 17]).toContain(protocol);
          expect([...plain.keys()].some((key) => key.includes(src) && key.includes(dst))).toBe(
            true,
          );
        }
      }
    });
  });

  test('the C daemon knows none of it: our client says so and fails', async () => {
    await withPair({ active: C, backup: OURS }, async ({ active, backup }) => {
      for (const args of [['-s', '-o', 'json'], ['-i', '-o', 'json'], ['--promote']]) {
        await expect(active.clientOf(OURS, ...args)).rejects.toThrow(
          'the daemon does not know this command',
        );
      }
      // The plain commands go on working either way.
      expect(await active.clientOf(OURS, '-s')).toContain('cache internal:');
      expect(await backup.clientOf(C, '-s')).toContain('cache internal:');
    });
  });
});
