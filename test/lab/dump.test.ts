// A dump of a million flows to readers that do not read: the daemon's memory stays, and replication
// goes on. And clients that connect and say nothing.

import { readFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { withKernelLimit } from '../../bench/lab/limit.js';
import { LineProcess } from '../../bench/lab/process.js';
import type { LoadCommand, LoadReport } from '../../bench/load.js';
import { type Daemon, OURS, REQUEST } from '../../lab/daemon.js';
import { withPair } from '../../lab/pair.js';
import { waitFor } from '../../lab/wait.js';
import { describeLab } from './matrix.js';

const FLOWS = 1_000_000;
const READERS = 8;
/** Text of one dump is over 100 MiB; eight of them must not add what one would. */
const GROWTH = 96 * 1024; // KiB

/** Resident memory, KiB. */
function resident({ pid }: Daemon): number {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  return Number(/^VmRSS:\s+(\d+)/m.exec(status)?.[1]);
}

/** A client that asks and takes the first chunk only. */
function askAndStop(daemon: Daemon, code: number | undefined): Promise<Socket> {
  const socket = connect(join(daemon.directory, 'ctl'));
  socket.on('error', () => undefined);
  return new Promise((resolve) => {
    socket.once('connect', () => {
      if (code === undefined) return resolve(socket);
      const word = Buffer.alloc(4);
      word.writeInt32LE(code);
      socket.write(word);
      socket.once('data', () => {
        socket.pause();
        resolve(socket);
      });
    });
  });
}

/** Reads on to the end; how many lines came after the first chunk. */
function linesLeft(socket: Socket): Promise<number> {
  let lines = 0;
  socket.on('data', (chunk: Buffer) => {
    for (const byte of chunk) if (byte === 10) lines++;
  });
  return new Promise((resolve) => {
    socket.once('end', () => resolve(lines));
    socket.resume();
  });
}

describeLab('a dump', () => {
  test('of a million flows streams in bounded memory, and replication goes on', async () => {
    await withKernelLimit(2 * FLOWS, (limit) => run(Math.min(FLOWS, Math.floor(limit / 2))));
  });

  async function run(flows: number): Promise<void> {
    await withPair(
      { active: OURS, backup: OURS },
      async ({ topology, active, backup }) => {
        await Promise.all([active.greeted(), backup.greeted()]);
        const load = await LineProcess.start(topology.fw1.ns, 'load.js');
        const order = async (what: LoadCommand['do'], from: number, count: number) => {
          const command: LoadCommand = { do: what, from, count, rate: 60_000, burst: 256 };
          expect((await load.ask<LoadReport>(command)).failed).toBe(0);
        };
        const cached = (count: number) =>
          waitFor(async () => (await backup.caches()).external.active === count, {
            for: `${count} flows on the backup`,
            timeout: 90_000,
            every: 250,
            explain: async () => `${await active.request(REQUEST.stats)}${backup.log()}`,
          });
        try {
          await order('create', 0, flows);
          await cached(flows);
          const silent = await Promise.all([1, 2, 3, 4].map(() => askAndStop(active, undefined)));
          for (const [daemon, code] of [
            [active, REQUEST.internal],
            [backup, REQUEST.external],
          ] as const) {
            const before = resident(daemon);
            const readers = await Promise.all(
              Array.from({ length: READERS }, () => askAndStop(daemon, code)),
            );
            // They stand still; the flows do not.
            await order('create', flows, 20_000);
            await cached(flows + 20_000);
            await order('delete', flows, 20_000);
            await cached(flows);
            expect(resident(daemon) - before).toBeLessThan(GROWTH);
            const [patient, ...others] = readers;
            for (const reader of others) reader.destroy();
            const lines = await linesLeft(patient!);
            expect(lines).toBeGreaterThan(flows * 0.98); // the first chunk was not counted
            expect(lines).toBeLessThanOrEqual(flows + 20_000);
            expect(resident(daemon) - before).toBeLessThan(GROWTH);
          }
          for (const socket of silent) socket.destroy();
        } finally {
          await load.stop();
        }
      },
      {
        general: `HashLimit ${FLOWS + 50_000}\n  NetlinkBufferSize 33554432`,
        mode: 'Mode FTFW {\n    ResendQueueSize 524288\n  }',
      },
    );
  }
});
