// `conntrackd -s ready`: asks the peers to acknowledge at once and waits until they have everything
// that this node knew when the order came; sync/readiness.ts judges. What is measured is what a
// failover would meet: the time until the peers have caught up with this moment is the lag.
//
// Beside the road: reads counters every few milliseconds, for LONGEST at most, and sends one
// message of a few dozen bytes.

import { setTimeout as sleep } from 'node:timers/promises';
import * as L from '../../assembly/layout.js';
import { waitingMessages } from '../sync/pace.js';
import type { Peer } from '../sync/peers.js';
import { judge, type NodeFacts, type PeerFacts, type Readiness } from '../sync/readiness.js';
import { askPart } from '../sync/tail.js';
import type { SyncNode } from './node.js';

/** ms that the peers have to catch up. */
const LONGEST = 1000;
/** ms until the question is put once more: it may have been lost. */
const ASK_AGAIN = 200;
const LOOK = 5; // ms

const MODES = ['FTFW', 'NOTRACK', 'ALARM'] as const;

/** What was so at the moment that the answer is about. */
interface Moment {
  /** ms, of the question. */
  asked: number;
  /** The last number that was used then. */
  last: number;
  /** Messages that a peer asked for again by then. */
  resent: bigint;
  unacknowledged: number;
  waiting: number;
  internal: number | undefined;
  changes: number;
}

export async function askReadiness(node: SyncNode): Promise<Readiness> {
  const mode = MODES[node.arena.limits.mode]!;
  const moment = await begin(node);
  const lags = mode === 'ALARM' ? new Map<Peer, number>() : await catchUp(node, moment);
  return judge(facts(node, mode, moment, lags));
}

/** Lets what the kernel has said leave, then remembers where we are. */
async function begin(node: SyncNode): Promise<Moment> {
  const { replication } = node;
  const asked = performance.now();
  const waiting = waitingMessages(node.arena);
  const unacknowledged = replication.unacknowledged;
  node.plane.wake();
  do await sleep(LOOK);
  while (waitingMessages(node.arena) > 0 && performance.now() - asked < LONGEST / 2);
  return { asked, unacknowledged, waiting, ...here(node) };
}

function here(node: SyncNode): Pick<Moment, 'last' | 'resent' | 'internal' | 'changes'> {
  const { arena, replication } = node;
  return {
    last: (arena.get(arena.sender + L.SENDER_NEXT) - 1) >>> 0,
    resent: arena.counter(arena.sender + L.SENDER_RESENT),
    internal: replication.holdings?.internal,
    changes: changesOf(node),
  };
}

/** Asks, and waits for each peer; the ms that each took. Whoever is missing took too long. */
async function catchUp(node: SyncNode, moment: Moment): Promise<Map<Peer, number>> {
  const { replication } = node;
  const lags = new Map<Peer, number>();
  const end = moment.asked + LONGEST;
  let askAt = 0;
  for (;;) {
    const now = performance.now();
    const peers = replication.peers.all.filter((peer) => peer.isOurs && peer.isPresent(now));
    for (const peer of peers) {
      if (!lags.has(peer) && hasAll(node, peer, moment)) lags.set(peer, now - moment.asked);
    }
    if (peers.every((peer) => lags.has(peer)) || now >= end) return lags;
    if (now >= askAt) {
      askAt = now + ASK_AGAIN;
      replication.say([askPart()]);
      node.plane.wake();
    }
    await sleep(LOOK);
    // What a peer missed has a new number now, and is behind the moment: it moves on.
    const { arena } = node;
    if (arena.counter(arena.sender + L.SENDER_RESENT) === moment.resent) continue;
    if (waitingMessages(arena) === 0) Object.assign(moment, here(node));
  }
}

/** The peer has answered since, and nothing of before the moment waits for it. */
function hasAll({ replication }: SyncNode, peer: Peer, moment: Moment): boolean {
  if (peer.tailAt <= moment.asked) return false;
  return replication.hasAcknowledged(peer, moment.last);
}

function facts(
  node: SyncNode,
  mode: NodeFacts['mode'],
  moment: Moment,
  lags: ReadonlyMap<Peer, number>,
): NodeFacts {
  const { arena, links, replication } = node;
  const now = performance.now();
  return {
    mode,
    linked: links.current.info.status === 'RUNNING',
    unacknowledged: moment.unacknowledged,
    waiting: moment.waiting,
    lost: arena.counter(arena.receiver + L.RECEIVER_LOST),
    givenUp: replication.givenUp,
    internal: moment.internal,
    changes: changesOf(node) - moment.changes,
    peers: replication.peers.all.map((peer) =>
      peerFacts(node, peer, moment, now, lags.get(peer), areEqual(node, peer, now)),
    ),
  };
}

/** What the digests say of the tables here and there; undefined: they are not compared. */
function areEqual({ digests }: SyncNode, peer: Peer, now: number): boolean | undefined {
  if (digests === undefined || !peer.isPresent(now)) return undefined;
  const verdicts = [digests.external(now, peer), digests.internal(now, peer)];
  if (verdicts.some((verdict) => verdict === 'different' || verdict === 'repairing')) return false;
  return verdicts.every((verdict) => verdict === 'equal') ? true : undefined;
}

function isRepairing({ digests }: SyncNode, peer: Peer, now: number): boolean {
  return [digests?.external(now, peer), digests?.internal(now, peer)].includes('repairing');
}

function peerFacts(
  node: SyncNode,
  peer: Peer,
  moment: Moment,
  now: number,
  lag: number | undefined,
  equal: boolean | undefined,
): PeerFacts {
  return {
    address: peer.address,
    ours: peer.isOurs,
    present: peer.isPresent(now),
    silent: now - peer.heardAt,
    version: peer.program,
    mode: peer.mode === undefined ? undefined : (MODES[peer.mode] ?? 'an unknown'),
    start: peer.identity?.start,
    lag,
    answered: peer.tailAt > moment.asked,
    holdings: peer.holdings,
    externalThen: peer.externalThen,
    equal,
    repairing: equal === false && isRepairing(node, peer, now),
  };
}

/** Flows that came into the internal cache or left it, so far. */
function changesOf({ arena }: SyncNode): number {
  const created = arena.sumTableCounters(L.TABLE_INTERNAL, L.TABLE_CREATED);
  const destroyed = arena.sumTableCounters(L.TABLE_INTERNAL, L.TABLE_DESTROYED);
  return Number(created + destroyed);
}
