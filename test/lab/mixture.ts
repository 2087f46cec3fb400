// Traffic of every kind at once, and what must be true of the table that it makes.

import { expect } from 'vitest';
import type { Pair } from '../../lab/pair.js';
import { type Table, waitSettled } from '../../lab/table.js';
import { LABEL, MARK, ZONE } from '../../lab/topology.js';
import {
  type Endpoint,
  type Ping,
  shortLived,
  startClient,
  startPings,
  startServer,
  unanswered,
  variety,
} from '../../lab/traffic.js';

export interface Traffic {
  client: Endpoint;
  pings: Ping[];
  /** Flows in the active kernel. */
  flows: number;
}

/** Connections of each kind. */
export const COUNT = 2;

/** Traffic of every kind through the active firewall; its flows have come to rest. */
export async function makeTraffic({ run, topology }: Pair): Promise<Traffic> {
  await startServer(topology);
  const plan = [...variety(COUNT), ...unanswered(COUNT), shortLived(COUNT)];
  const client = await startClient(topology, plan);
  const pings = startPings(topology);
  await Promise.all(pings.map((ping) => ping.progress()));
  await client.close('tcp-short');
  const flows = plan.reduce((sum, group) => sum + group.count, 0) + pings.length;
  await waitSettled(run, topology.fw1.ns, flows);
  return { client, pings, flows };
}

/** The table shows what the plan was to make; otherwise an equal table would prove little. */
export function expectVariety(table: Table): void {
  const flows = [...table.values()];
  const count = (wanted: (flow: (typeof flows)[number]) => boolean) => flows.filter(wanted).length;
  const both = 2 * COUNT;
  expect(count((flow) => flow.mark === String(MARK))).toBe(both);
  expect(count((flow) => flow.zone === String(ZONE))).toBe(both);
  expect(count((flow) => flow.labels === `bit${LABEL}`)).toBe(both);
  expect(count((flow) => flow.helper === 'ftp')).toBe(both);
  expect(count((flow) => flow.reply.dst !== flow.orig.src)).toBe(2 * both);
  expect(count((flow) => flow.reply.src !== flow.orig.dst)).toBe(2 * both);
  expect(count((flow) => flow.state === 'TIME_WAIT')).toBe(COUNT);
  expect(count((flow) => flow.state === 'SYN_SENT')).toBe(COUNT);
  expect(count((flow) => flow.status.includes('UNREPLIED'))).toBe(2 * COUNT);
  expect(count((flow) => flow.protocol.startsWith('icmp'))).toBe(2);
}

/** Every long-lived connection is answered. */
export async function expectAlive({ client, pings }: Traffic): Promise<void> {
  const answered = await client.probe(10_000);
  const wanted = Object.fromEntries(variety(COUNT).map(({ name, count }) => [name, count]));
  expect(answered).toEqual(wanted);
  await Promise.all(pings.map((ping) => ping.progress()));
}
