// What `-s ready` makes of what is known: one thing wrong at a time.

import { describe, expect, it } from 'vitest';
import { readinessReply } from '../../../src/report/readiness.js';
import { judge, type NodeFacts, type PeerFacts } from '../../../src/sync/readiness.js';

const PEER: PeerFacts = {
  address: '192.0.2.2',
  ours: true,
  present: true,
  silent: 200,
  version: '1.0',
  mode: 'FTFW',
  start: 1_790_000_000_000,
  lag: 1.25,
  answered: true,
  holdings: { internal: 3, external: 10, unacknowledged: 0, waiting: 0 },
  externalThen: 3,
  equal: undefined,
};

const NODE: NodeFacts = {
  mode: 'FTFW',
  linked: true,
  unacknowledged: 0,
  waiting: 0,
  lost: 0n,
  givenUp: 0n,
  internal: 10,
  changes: 0,
  peers: [PEER],
};

const C_PEER: PeerFacts = {
  ...PEER,
  ours: false,
  version: undefined,
  mode: undefined,
  holdings: undefined,
  lag: undefined,
  answered: false,
};

const node = (differs: Partial<NodeFacts>): NodeFacts => ({ ...NODE, ...differs });
const peer = (differs: Partial<PeerFacts>): NodeFacts => node({ peers: [{ ...PEER, ...differs }] });
const holds = (differs: object) => peer({ holdings: { ...PEER.holdings!, ...differs } });

describe('-s ready', () => {
  it('says ready when the peer has everything and we have everything of it', () => {
    expect(judge(NODE)).toMatchObject({ verdict: 'ready', reasons: [] });
  });

  it.each<[string, NodeFacts, RegExp]>([
    ['nobody is heard', node({ peers: [] }), /no peer is heard/],
    ['the peer is silent', peer({ present: false }), /no peer is heard/],
    ['no link has carrier', node({ linked: false }), /no dedicated link/],
    ['messages were given up', node({ givenUp: 4n }), /4 messages were given up/],
    ['the peer is in another mode', peer({ mode: 'NOTRACK' }), /is in NOTRACK mode/],
    ['the peer does not answer', peer({ answered: false }), /did not answer/],
    ['the peer is behind', peer({ lag: undefined }), /has not acknowledged everything/],
    ['the tables differ', peer({ equal: false }), /the table of 192.0.2.2 differs/],
    ['the peer lacks a flow', holds({ external: 9 }), /holds 9 flows, this node has 10/],
    ['the peer has one too many', holds({ external: 11 }), /holds 11 flows/],
    ['we lack a flow of the peer', peer({ externalThen: 2 }), /this node holds 2 flows/],
    ['we have one too many', peer({ externalThen: 4 }), /this node holds 4 flows/],
  ])('says not ready when %s', (_, facts, reason) => {
    const { verdict, reasons } = judge(facts);
    expect(verdict).toBe('not ready');
    expect(reasons.join('\n')).toMatch(reason);
  });

  it.each<[string, NodeFacts, RegExp]>([
    ['the peer is a C daemon', node({ peers: [C_PEER] }), /does not say how far it is/],
    ['one of two peers is a C daemon', node({ peers: [PEER, C_PEER] }), /does not say/],
    ['the mode is ALARM', node({ mode: 'ALARM', peers: [] }), /ALARM/],
    ['the mode is NOTRACK', { ...peer({ mode: 'NOTRACK' }), mode: 'NOTRACK' }, /NOTRACK/],
    ['there is no internal cache', node({ internal: undefined }), /internal cache/],
  ])('cannot say when %s', (_, facts, reason) => {
    const { verdict, reasons } = judge(facts);
    expect(verdict).toBe('cannot say');
    expect(reasons.join('\n')).toMatch(reason);
  });

  it('lets a count be off by what changed meanwhile, and no more', () => {
    const busy = (external: number) => judge({ ...holds({ external }), changes: 5 }).verdict;
    expect([4, 5, 15, 16].map(busy)).toEqual(['not ready', 'ready', 'ready', 'not ready']);
  });

  it('believes a digest where there is no other evidence, but not against the counts', () => {
    expect(judge({ ...peer({ equal: true }), givenUp: 7n }).verdict).toBe('ready');
    expect(judge(peer({ equal: true, externalThen: 900 })).verdict).toBe('not ready');
    expect(judge({ ...peer({ equal: true, mode: 'NOTRACK' }), mode: 'NOTRACK' }).verdict).toBe(
      'ready',
    );
  });

  it('does not mind a silent node while another one has everything', () => {
    const facts = node({ peers: [PEER, { ...PEER, address: '192.0.2.3', present: false }] });
    expect(judge(facts).verdict).toBe('ready');
  });

  it('counts the flows of several peers together', () => {
    const third = {
      ...PEER,
      address: '192.0.2.3',
      externalThen: 8,
      holdings: { ...PEER.holdings!, external: 13 },
    };
    const both = node({ peers: [{ ...PEER, externalThen: 8 }, third] });
    expect(judge(both).verdict).toBe('ready');
    const less = { ...third, holdings: { ...PEER.holdings!, external: 9 } };
    expect(judge(node({ peers: [PEER, less] })).verdict).toBe('not ready');
  });
});

describe('the report', () => {
  it('tells as text who the peers are and how far they are', () => {
    expect(readinessReply(judge(NODE), false)).toBe(
      [
        'ready: yes',
        'peer 192.0.2.2: Flowtwin 1.0, FTFW, heard (200 ms)',
        '\tlag: 1.3 ms, 0 messages',
        '\tunacknowledged: 0, lost: 0, given up: 0',
        '\tour flows: 10 here, 10 there',
        '\ttheir flows: 3 here, 3 there',
        '\tequal: cannot say',
        '',
      ].join('\n'),
    );
    const other = readinessReply(judge(node({ peers: [C_PEER] })), false);
    expect(other).toContain('ready: cannot say');
    expect(other).toContain('peer 192.0.2.2: cannot say, heard (200 ms)');
  });

  it('tells the same as JSON, without what it does not know', () => {
    const parse = (facts: NodeFacts) => JSON.parse(readinessReply(judge(facts), true));
    expect(parse(NODE)).toEqual({
      view: 'ready',
      verdict: 'ready',
      exit: 0,
      reasons: [],
      mode: 'FTFW',
      linked: true,
      messages: { unacknowledged: 0, waiting: 0, lost: 0, givenUp: 0 },
      internal: 10,
      peers: [
        {
          address: '192.0.2.2',
          program: 'Flowtwin',
          version: '1.0',
          mode: 'FTFW',
          started: 1_790_000_000_000,
          heard: true,
          silent: 200,
          lag: 1.25,
          flows: { internal: 3, external: 10, unacknowledged: 0, waiting: 0, ofThem: 3 },
        },
      ],
    });
    expect(parse(node({ peers: [C_PEER] }))).toMatchObject({ exit: 2, peers: [{ heard: true }] });
    expect(parse(peer({ equal: false })).peers[0].equal).toBe(false);
  });
});
