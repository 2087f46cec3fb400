// `conntrackd -s ready`: what sync/readiness.ts found, as text or as one JSON object. Plain objects
// in, text out.

import { EXIT_STATUS, type PeerFacts, type Readiness } from '../sync/readiness.js';
import { type Fields, jsonText } from './json.js';

/** The report as it goes to a client, newline included. */
export function readinessReply(found: Readiness, json: boolean): string {
  return json ? `${jsonText(readinessFields(found))}\n` : readinessText(found);
}

function readinessText(found: Readiness): string {
  const lines = [`ready: ${found.verdict === 'ready' ? 'yes' : found.verdict}`];
  for (const reason of found.reasons) lines.push(`\t${reason}`);
  for (const peer of found.peers) lines.push(...peerLines(peer, found));
  return `${lines.join('\n')}\n`;
}

function peerLines(peer: PeerFacts, node: Readiness): string[] {
  const { unacknowledged, waiting, lost, givenUp } = node;
  const heard = peer.present ? 'heard' : 'silent';
  const lines = [
    `peer ${peer.address}: ${peer.ours ? `Flowtwin ${peer.version}` : 'cannot say'}` +
      `${peer.mode === undefined ? '' : `, ${peer.mode}`}, ${heard} (${Math.round(peer.silent)} ms)`,
  ];
  if (!peer.ours) return lines;
  const lag = peer.lag === undefined ? 'cannot say' : `${peer.lag.toFixed(1)} ms`;
  lines.push(`\tlag: ${lag}, ${unacknowledged + waiting} messages`);
  lines.push(`\tunacknowledged: ${unacknowledged}, lost: ${lost}, given up: ${givenUp}`);
  const { holdings } = peer;
  if (holdings !== undefined) {
    const ours = node.internal === undefined ? '' : `${node.internal} here, `;
    lines.push(`\tour flows: ${ours}${holdings.external} there`);
    lines.push(`\ttheir flows: ${peer.externalThen} here, ${holdings.internal} there`);
  }
  lines.push(`\tequal: ${equalText(peer)}`);
  return lines;
}

function equalText({ equal, repairing }: PeerFacts): string {
  if (repairing) return 'repairing';
  return equal === undefined ? 'cannot say' : equal ? 'yes' : 'no';
}

function readinessFields(found: Readiness): Fields {
  const { verdict, reasons, mode, linked, unacknowledged, waiting, lost, givenUp, internal } =
    found;
  return {
    view: 'ready',
    verdict,
    exit: EXIT_STATUS[verdict],
    reasons: [...reasons],
    mode,
    linked,
    messages: { unacknowledged, waiting, lost, givenUp },
    ...(internal === undefined ? {} : { internal }),
    peers: found.peers.map(peerFields),
  } as Fields;
}

function peerFields(peer: PeerFacts): Fields {
  const { address, ours, present, silent, version, mode, start, lag, holdings, equal } = peer;
  const fields = {
    address,
    program: ours ? 'Flowtwin' : undefined,
    version,
    mode,
    started: start,
    heard: present,
    silent: Math.round(silent),
    lag,
    flows: holdings && {
      internal: holdings.internal,
      external: holdings.external,
      unacknowledged: holdings.unacknowledged,
      waiting: holdings.waiting,
      ofThem: peer.externalThen,
    },
    equal,
  };
  const known = Object.entries(fields).filter(([, value]) => value !== undefined);
  return Object.fromEntries(known) as Fields;
}
