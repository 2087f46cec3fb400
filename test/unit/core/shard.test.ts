// A shard against a model, step by step: any sequence of events, dumps, sends, acknowledgements,
// misses and flushes leaves the cache, the transmit queue and the messages as the model says, and
// the memory whole (invariants.ts).

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import * as L from '../../../assembly/layout.js';
import { INTERNAL, split, TestNode } from './arena.js';
import { checkShard } from './invariants.js';
import { type Kind, kernelMessage } from './kernel.js';
import { cached, nameOfFlow, say } from './spoken.js';

const RESEND_LIMIT = 12;
const RING_SIZE = 16;
const node = new TestNode({
  hashLimit: 64,
  buckets: 2,
  resendQueueSize: RESEND_LIMIT,
  payloadMax: 300, // a few messages a datagram
  sideChunks: 4,
});
const COMMIT = 4001;
const FLOWS = 12;

type State = 'new' | 'alive' | 'dead' | 'tomb';

interface Entry {
  state: State;
  queued: boolean;
  visit: number;
  /** Sequence it was last sent with, while the resend queue may still want it. */
  sequence: number | undefined;
  /** It took the place of another flow, and no NEW of it is acknowledged: it travels as NEW. */
  fresh: boolean;
  /** Fresh, and a message of it has left. */
  told: boolean;
}

const isOdd = (n: number) => n % 2 === 1;
const nameOf = (n: number) => `${n}${isOdd(n) ? 'v6' : ''}`;
const WORDS = { new: 'NEW', alive: 'UPD', dead: 'DEL' };

/** What the shard and the sender together should do, in the simplest words. */
class Model {
  entries = new Map<number, Entry>();
  queue: number[] = [];
  dumping = false;
  visit = 0;
  sequence = 1000;
  /** Sequences held for resending: the flow, and whether it was a DEL. */
  held = new Map<number, { n: number; del: boolean }>();

  constructor(readonly acknowledged: boolean) {}

  event(kind: Kind, n: number, replicate: boolean): void {
    const entry = this.entries.get(n);
    if (kind === 'destroy') {
      if (!entry) {
        if (this.dumping) this.add(n, 'tomb');
      } else if (entry.state === 'new' || entry.state === 'alive') this.bury(n, entry, replicate);
      return;
    }
    if (!entry) this.add(n, 'new');
    else if (kind === 'update' && (entry.state === 'new' || entry.state === 'alive')) {
      // What was not sent as new yet still will be.
      if (!(entry.state === 'new' && entry.queued)) entry.state = 'alive';
    } else Object.assign(entry, { state: 'new', fresh: true, told: false });
    this.entries.get(n)!.visit = this.visit;
    if (replicate) this.enqueue(n);
  }

  private add(n: number, state: State): void {
    this.entries.set(n, {
      state,
      queued: false,
      visit: 0,
      sequence: undefined,
      fresh: false,
      told: false,
    });
  }

  bury(n: number, entry: Entry, replicate: boolean): void {
    if (!replicate) this.drop(n, entry);
    else {
      entry.state = 'dead';
      this.enqueue(n);
    }
  }

  drop(n: number, entry: Entry): void {
    if (entry.queued || this.dumping) entry.state = 'tomb';
    else this.entries.delete(n);
  }

  enqueue(n: number): void {
    const entry = this.entries.get(n)!;
    if (entry.queued) return;
    entry.queued = true;
    this.queue.push(n);
  }

  /**
   * Everything queued leaves; gives what is said. While it leaves, the resend queue may overflow and
   * give up a fresh flow's NEW before the flow's turn comes: then `really` decides.
   */
  send(really: readonly string[]): string[] {
    const said: string[] = [];
    const tight = this.queue.length + this.held.size > RESEND_LIMIT;
    for (const n of this.queue.splice(0)) {
      const entry = this.entries.get(n)!;
      entry.queued = false;
      if (entry.state === 'tomb') {
        this.drop(n, entry);
        continue;
      }
      const renewed = `NEW ${nameOf(n)}`;
      const acknowledged =
        entry.told && (entry.sequence === undefined || (tight && really[said.length] !== renewed));
      if (acknowledged) entry.fresh = false;
      said.push(
        entry.fresh && entry.state === 'alive' ? renewed : `${WORDS[entry.state]} ${nameOf(n)}`,
      );
      entry.told = entry.fresh;
      this.hold(n, entry);
      if (entry.state === 'dead' && !this.acknowledged) this.drop(n, entry);
    }
    return said;
  }

  private hold(n: number, entry: Entry): void {
    const sequence = this.sequence++;
    if (!this.acknowledged) return;
    entry.sequence = sequence;
    this.held.set(sequence, { n, del: entry.state === 'dead' });
  }

  /**
   * What the resend queue has no room for is given up, the oldest first: by number of entries, and
   * by distance, for the ring has one place a sequence number, held or not.
   */
  overflow(): void {
    const near = this.sequence - 1 - RING_SIZE;
    const held = [...this.held.keys()].sort((a, b) => a - b);
    const far = held.filter((sequence) => sequence <= near);
    const rest = held.slice(far.length);
    this.release([...far, ...rest.slice(0, Math.max(0, rest.length - RESEND_LIMIT))]);
  }

  release(sequences: number[]): void {
    for (const sequence of sequences) {
      const item = this.held.get(sequence);
      this.held.delete(sequence);
      const entry = item && this.entries.get(item.n);
      if (!entry || entry.sequence !== sequence) continue;
      entry.sequence = undefined;
      const dead = entry.state === 'dead' || entry.state === 'tomb';
      if (item.del && dead && !entry.queued) this.drop(item.n, entry);
    }
  }

  missed(sequences: number[]): void {
    for (const sequence of sequences) {
      const item = this.held.get(sequence);
      this.held.delete(sequence);
      const entry = item && this.entries.get(item.n);
      if (entry && entry.sequence === sequence && entry.state !== 'tomb') this.enqueue(item.n);
    }
  }

  dumpEntry(n: number, replicate: boolean): void {
    const entry = this.entries.get(n);
    if (!entry) {
      this.add(n, 'new');
      this.entries.get(n)!.visit = this.visit;
      if (replicate) this.enqueue(n);
    } else if (entry.state === 'new' || entry.state === 'alive') {
      entry.visit = this.visit; // the same attributes: nothing to tell
    }
  }

  /** Vanished flows are buried in `order`, which is the slab's and means nothing. */
  dumpEnd(purge: boolean, replicate: boolean, order: number[]): void {
    this.dumping = false;
    for (const n of order) {
      const entry = this.entries.get(n)!;
      if (entry.state === 'tomb') this.drop(n, entry);
      else if (entry.state !== 'dead' && purge && entry.visit !== this.visit) {
        this.bury(n, entry, replicate);
      }
    }
  }

  flush(): void {
    this.entries.clear();
    this.queue = [];
  }
}

/** The real one, driven the way main drives it. */
class Real {
  readonly sender = node.arena.sender;

  event(kind: Kind, n: number, replicate: boolean): void {
    node.events(kernelMessage(kind, flowOf(n), replicate ? 0 : COMMIT));
  }

  /** `chunk` datagrams at a time. */
  send(chunk: number): string[] {
    const said: string[] = [];
    for (;;) {
      const slots = node.pump(chunk);
      if (slots.length === 0) return said;
      for (const { out, handles } of slots) {
        node.fn.senderStamp!(this.sender, out, handles);
        for (const message of split(node.payload(out))) said.push(say(node, message));
      }
      this.handOver();
      checkShard(node);
    }
  }

  acknowledge(from: number, to: number): void {
    node.fn.senderAcknowledged!(this.sender, from, to);
    this.handOver();
  }

  miss(from: number, to: number): void {
    node.fn.senderMissed!(this.sender, from, to);
    this.handOver();
  }

  forget(): void {
    node.fn.senderForget!(this.sender);
    this.handOver();
  }

  private handOver(): void {
    const { sender } = this;
    const list = (offset: number) => node.get(sender + offset);
    node.fn.shardReap!(node.shard, list(L.SENDER_REAP), list(L.SENDER_REAP_COUNT));
    node.set(sender + L.SENDER_REAP_COUNT, 0);
    node.fn.shardRequeue!(node.shard, list(L.SENDER_AGAIN), list(L.SENDER_AGAIN_COUNT));
    node.set(sender + L.SENDER_AGAIN_COUNT, 0);
  }

  held(): number {
    return node.get(this.sender + L.SENDER_HELD);
  }
}

function flowOf(n: number) {
  // Some flows have extra parts, so that both kinds of part come and go.
  return { n, v6: isOdd(n), id: n + 1, ...(n % 3 === 0 ? { labels: n + 1 } : {}) };
}

/** The numbers of the cached flows in the order of the slab. */
function slabOrder(): number[] {
  return node.records(INTERNAL).map((record) => {
    node.fn.unpackFlow!(record, node.flow);
    return Number.parseInt(nameOfFlow(node, node.flow), 10);
  });
}

type Command = fc.Command<Model, Real>;

class Step implements Command {
  constructor(
    private readonly name: string,
    private readonly act: (model: Model, real: Real) => void,
    private readonly when: (model: Model) => boolean = () => true,
  ) {}

  check(model: Readonly<Model>): boolean {
    return this.when(model as Model);
  }

  run(model: Model, real: Real): void {
    this.act(model, real);
    compare(model, real);
  }

  toString(): string {
    return this.name;
  }
}

function compare(model: Model, real: Real): void {
  checkShard(node);
  const wanted = [...model.entries].map(([n, { state }]) => `${state} ${nameOf(n)}`).sort();
  expect(cached(node, INTERNAL)).toEqual(wanted);
  expect(node.queue()).toHaveLength(model.queue.length);
  if (model.acknowledged) expect(real.held()).toBe(model.held.size);
}

function sendStep(chunk: number): Step {
  return new Step(`send ${chunk}`, (model, real) => {
    const said = real.send(chunk);
    expect(said).toEqual(model.send(said));
    if (model.acknowledged) model.overflow();
  });
}

function rangeOf(model: Model, at: number, size: number): [number, number, number[]] {
  const from = 1000 + (at % Math.max(1, model.sequence - 1000));
  const to = from + size;
  return [
    from,
    to,
    [...model.held.keys()].filter((s) => s >= from && s <= to).sort((a, b) => a - b),
  ];
}

const flow = fc.nat(FLOWS - 1);
const commands: fc.Arbitrary<Command>[] = [
  fc
    .tuple(fc.constantFrom<Kind>('new', 'update', 'update', 'destroy', 'destroy'), flow, fc.nat(3))
    .map(([kind, n, dice]) => {
      const replicate = dice !== 0;
      return new Step(`${kind} ${n}${replicate ? '' : ' by commit'}`, (model, real) => {
        model.event(kind, n, replicate);
        real.event(kind, n, replicate);
      });
    }),
  fc.constantFrom(1, 64).map(sendStep),
  fc.tuple(fc.nat(1000), fc.nat(20), fc.boolean()).map(([at, size, miss]) => {
    const name = `${miss ? 'nack' : 'ack'} ${at} + ${size}`;
    return new Step(name, (model, real) => {
      const [from, to, sequences] = rangeOf(model, at, size);
      if (miss) {
        model.missed(sequences);
        real.miss(from, to);
      } else {
        model.release(sequences);
        real.acknowledge(from, to);
      }
    });
  }),
  fc.constant(
    new Step('the peer restarts', (model, real) => {
      model.release([...model.held.keys()].sort((a, b) => a - b));
      real.forget();
    }),
  ),
  fc.constant(
    new Step('dump begins', (model) => {
      model.dumping = true;
      model.visit = model.visit >= 255 ? 1 : model.visit + 1;
      node.fn.shardDumpBegin!(node.shard);
    }),
  ),
  fc.tuple(fc.uniqueArray(flow, { maxLength: 6 }), fc.boolean()).map(([list, replicate]) => {
    return new Step(
      `dump lists ${list}`,
      (model) => {
        for (const n of list) model.dumpEntry(n, replicate);
        node.dump(replicate, ...list.map((n) => kernelMessage('dump', flowOf(n))));
      },
      (model) => model.dumping,
    );
  }),
  fc
    .record({ purge: fc.boolean(), replicate: fc.boolean(), slice: fc.constantFrom(1, 5, 1000) })
    .map(({ purge, replicate, slice }) => {
      return new Step(
        `dump ends${purge ? ' and purges' : ''}`,
        (model) => {
          model.dumpEnd(purge, replicate, slabOrder());
          const more = () =>
            node.fn.shardDumpEnd!(node.shard, purge ? 1 : 0, replicate ? 1 : 0, slice);
          while (more() !== 0) checkShard(node);
        },
        (model) => model.dumping,
      );
    }),
  fc.constant(
    new Step('flush', (model) => {
      model.flush();
      node.fn.shardFlush!(node.shard, INTERNAL);
    }),
  ),
];

describe('a shard', () => {
  it.each([
    ['FTFW', true],
    ['NOTRACK', false],
  ] as const)(
    'does what its model does, in any order (%s)',
    (_mode, acknowledged) => {
      fc.assert(
        fc.property(fc.commands(commands, { maxCommands: 120, size: 'max' }), (list) => {
          node.reset();
          node.set(L.CONTROL_PORT_COMMIT, COMMIT);
          node.set(node.shard + L.SHARD_OPTIONS, acknowledged ? L.SHARD_ACKNOWLEDGED : 0);
          node.set(node.arena.sender + L.SENDER_TRACKED, acknowledged ? 1 : 0);
          fc.modelRun(() => ({ model: new Model(acknowledged), real: new Real() }), list);
        }),
        { numRuns: 200 },
      );
    },
    60_000,
  );
});
