// A turn of the data plane: how many events it takes before the links have theirs
// (EventIterationLimit), and what it does about events too long to be read.

import { describe, expect, it } from 'vitest';
import * as L from '../../../assembly/layout.js';
import { Arena } from '../../../src/cache/arena.js';
import { LocalShards } from '../../../src/cache/shards.js';
import { compileModule, instantiate } from '../../../src/cache/wasm.js';
import { type Config, parseConfig } from '../../../src/config/index.js';
import { DataPlane } from '../../../src/daemon/dataplane.js';
import { eventLimit } from '../../../src/daemon/event-source.js';
import { NO_EVENTS } from '../../../src/kernel/events.js';

function configOf(general: string): Config {
  return parseConfig(`General { ${general} }`, 'c.conf').config!;
}

/**
 * A data plane whose source has `queued` events; tells how many it was asked for, each time. The
 * first `cutOff` of them were longer than their slot.
 */
function plane(queued: number, cutOff = 0): { plane: DataPlane; asked: number[]; cut: number[] } {
  const arena = new Arena({
    shards: 1,
    hashLimit: 64,
    resendQueueSize: 16,
    payloadMax: 1400,
    shardOptions: 0,
    mode: 0,
    ackWindowSize: 16,
    firstSequence: 1,
  });
  const core = instantiate(compileModule(process.env.FLOWTWIN_TEST_WASM), arena.memory);
  const asked: number[] = [];
  const cut: number[] = [];
  let left = queued;
  let long = cutOff;
  const made = new DataPlane({
    arena,
    base: 0,
    core,
    shards: new LocalShards(arena, core),
    wake: -1,
    events: {
      ...NO_EVENTS,
      receive: (batch, most = batch.count) => {
        asked.push(most);
        const count = Math.min(most, left);
        left -= count;
        for (let i = 0; i < count; i++) {
          const header = batch.headers + i * L.MMSG_SIZE;
          arena.set(header + L.MMSG_FLAGS, long-- > 0 ? L.MSG_TRUNC : 0);
          arena.set(header + L.MMSG_LEN, 0);
        }
        return count;
      },
    },
    peers: undefined,
    alarm: undefined,
    coalesceTime: 0,
    onOverrun: () => expect.unreachable('no overrun: a larger buffer would not help'),
    onCut: (datagrams) => cut.push(datagrams),
  });
  return { plane: made, asked, cut };
}

describe('EventIterationLimit', () => {
  it('bounds a turn only if the file has it', () => {
    expect(eventLimit(configOf(''))).toBeUndefined();
    expect(eventLimit(configOf('EventIterationLimit 250'))).toBe(250);
  });

  it('ends a turn when so many events were taken, and asks for another at once', () => {
    const { plane: limited, asked } = plane(1000);
    limited.eventLimit = 300;
    expect(limited.turn()).toEqual({ busy: true, more: true });
    expect(asked).toEqual([256, 44]);
  });

  it('lets a turn end early when there is nothing left', () => {
    const { plane: idle, asked } = plane(10);
    expect(idle.turn()).toEqual({ busy: true, more: false });
    expect(asked).toEqual([256]);
    expect(idle.turn()).toEqual({ busy: false, more: false });
  });
});

describe('an event too long for its slot', () => {
  it('is counted, and once a turn the node hears that events are lost', () => {
    const { plane: made, cut } = plane(600, 3);
    made.turn();
    expect(cut).toEqual([3]);
    expect(made.cutEvents).toBe(3);
    made.turn();
    expect(cut).toEqual([3]);
  });
});
