// Would a failover now lose anything? What is known of this node and of its peers in, a verdict and
// the reasons for it out. Plain logic: no clock, no socket (src/daemon/readiness.ts asks the peers).
//
//   ready        every peer that is heard is one of ours in the same mode, has acknowledged all that
//                this node knew when it was asked, and holds as many flows as it must, and so does
//                this node of theirs; where digests of the tables are compared, they are equal
//   not ready    something of this is known not to be so
//   cannot say   nothing is known to be wrong, but a peer does not tell: a C daemon, or a mode without
//                acknowledgements
//
// Counts of flows are compared as far as they can be: a snapshot of a busy table is blurred by what
// changed since, one flow for a change at most. At rest they must be equal.

import type { Holdings } from './tail.js';

export type Verdict = 'ready' | 'not ready' | 'cannot say';

export interface PeerFacts {
  readonly address: string;
  /** False: a C daemon, or a node that has not spoken yet. */
  readonly ours: boolean;
  /** Heard within the last seconds. */
  readonly present: boolean;
  /** ms since it was heard. */
  readonly silent: number;
  readonly version: string | undefined;
  readonly mode: string | undefined;
  /** Unix time in ms of its start. */
  readonly start: number | undefined;
  /** ms from the question until it had everything of then; undefined: not within the time given. */
  readonly lag: number | undefined;
  /** It has answered the question, so what it holds is of now. */
  readonly answered: boolean;
  readonly holdings: Holdings | undefined;
  /** Flows in our external cache when it told its holdings. */
  readonly externalThen: number;
  /** Whether digests of both tables agree; undefined: they are not compared. */
  readonly equal: boolean | undefined;
  /** They are not, and what differs is being said again. */
  readonly repairing?: boolean;
}

export interface NodeFacts {
  readonly mode: 'FTFW' | 'NOTRACK' | 'ALARM';
  /** A dedicated link has carrier. */
  readonly linked: boolean;
  /** Flow messages without acknowledgement, and not yet sent, when the question was asked. */
  readonly unacknowledged: number;
  readonly waiting: number;
  /** Numbers of the peers that never came, and messages of ours given up since the last bulk. */
  readonly lost: bigint;
  readonly givenUp: bigint;
  /** Flows in the internal cache; undefined without one. */
  readonly internal: number | undefined;
  /** Changes of the internal cache since it was counted. */
  readonly changes: number;
  readonly peers: readonly PeerFacts[];
}

export interface Readiness extends NodeFacts {
  readonly verdict: Verdict;
  readonly reasons: readonly string[];
}

export function judge(node: NodeFacts): Readiness {
  const present = node.peers.filter((peer) => peer.present);
  const wrong = [
    ...nodeWrongs(node, present),
    ...present.flatMap((peer) => wrongs(node, peer, present)),
  ];
  if (wrong.length > 0) return { ...node, verdict: 'not ready', reasons: wrong };
  const unsaid = unknowns(node, present);
  if (unsaid.length > 0) return { ...node, verdict: 'cannot say', reasons: unsaid };
  return { ...node, verdict: 'ready', reasons: [] };
}

function nodeWrongs(node: NodeFacts, present: readonly PeerFacts[]): string[] {
  if (node.mode === 'ALARM') return []; // peers say nothing of themselves: their silence neither
  const list: string[] = [];
  if (!node.linked) list.push('no dedicated link has carrier');
  if (present.length === 0) list.push('no peer is heard');
  const allEqual = present.every((peer) => peer.equal === true);
  if (node.givenUp > 0n && !allEqual) {
    list.push(`${node.givenUp} messages were given up unacknowledged since the last bulk update`);
  }
  return list;
}

function wrongs(node: NodeFacts, peer: PeerFacts, present: readonly PeerFacts[]): string[] {
  if (!peer.ours) return [];
  const { address } = peer;
  if (peer.mode !== undefined && peer.mode !== node.mode) {
    return [`${address} is in ${peer.mode} mode, this node in ${node.mode}`];
  }
  if (!peer.answered) return [`${address} did not answer`];
  const list: string[] = [];
  if (node.mode === 'FTFW' && peer.lag === undefined) {
    list.push(`${address} has not acknowledged everything`);
  }
  if (peer.equal === false) return [...list, `the table of ${address} differs`];
  return [...list, ...countWrongs(node, peer, present.length === 1)];
}

/** `alone`: there is no other peer whose flows are counted, too. */
function countWrongs(node: NodeFacts, peer: PeerFacts, alone: boolean): string[] {
  const { address, holdings, externalThen } = peer;
  if (holdings === undefined) return [];
  const list: string[] = [];
  if (node.internal !== undefined) {
    const blur = node.changes;
    const less = holdings.external < node.internal - blur;
    const more = alone && holdings.external > node.internal + blur;
    if (less || more) {
      list.push(`${address} holds ${holdings.external} flows, this node has ${node.internal}`);
    }
  }
  const blur = holdings.unacknowledged + holdings.waiting;
  const less = externalThen < holdings.internal - blur;
  const more = alone && externalThen > holdings.internal + blur;
  if (less || more) {
    list.push(`this node holds ${externalThen} flows, ${address} has ${holdings.internal}`);
  }
  return list;
}

function unknowns(node: NodeFacts, present: readonly PeerFacts[]): string[] {
  if (node.mode === 'ALARM') return ['in ALARM mode peers say nothing of themselves'];
  const list: string[] = [];
  for (const peer of present) {
    if (!peer.ours) list.push(`${peer.address} does not say how far it is`);
    else if (peer.equal === true) continue;
    else if (node.mode === 'NOTRACK') {
      list.push(`${peer.address} acknowledges nothing in NOTRACK mode`);
    } else if (node.internal === undefined || peer.holdings === undefined) {
      list.push(`${peer.address}: without an internal cache flows cannot be compared`);
    }
  }
  return list;
}

/** What the client exits with. */
export const EXIT_STATUS: Readonly<Record<Verdict, number>> = {
  ready: 0,
  'not ready': 1,
  'cannot say': 2,
};
