// The views of `conntrackd -s`, byte for byte. The expected blocks were printed by the C daemon
// (1.4.7); some of their zeros are replaced by distinct numbers of the same width.

import { describe, expect, it } from 'vitest';
import {
  type CacheCounters,
  cacheText,
  generalText,
  type LinkCounters,
  linksText,
  type NetworkCounters,
  networkText,
  processText,
  queueText,
  resendQueueText,
  runtimeText,
  uptimeText,
} from '../../../src/report/statistics.js';

const internal: CacheCounters = {
  kind: 'cache',
  name: 'internal',
  active: 3,
  total: 4,
  objects: 5,
  created: 6n,
  createFailed: 7,
  noMemory: 8,
  noSpace: 9,
  updated: 10,
  updateFailed: 11,
  updateNotFound: 12,
  destroyed: 13,
  destroyFailed: 14,
  destroyNotFound: 15,
};

const udp: LinkCounters = {
  kind: 'udp',
  device: 'va',
  status: 'RUNNING',
  role: 'ACTIVE',
  bytesSent: 18446744073709551615n,
  bytesReceived: 2,
  packetsSent: 3,
  packetsReceived: 4,
  sendErrors: 5,
  receiveErrors: 6,
};

const udpLines =
  '18446744073709551615 Bytes sent                    2 Bytes recv\n' +
  '                   3 Pckts sent                    4 Pckts recv\n' +
  '                   5 Error send                    6 Error recv\n\n';

const network: NetworkCounters = {
  malformed: 1,
  wrongVersion: 2,
  malformedHeader: 3,
  malformedPayload: 4,
  badType: 5,
  truncated: 6,
  badSize: 7,
  sendMalformed: 8,
  lost: 9,
  before: 10,
};

describe('conntrackd -s', () => {
  it('caches, traffic, the link in use and message tracking', () => {
    const counters = { tables: [internal], traffic: { bytes: 1, packets: 2 } };
    expect(generalText({ ...counters, link: udp, tracking: network })).toBe(
      'cache internal:\n' +
        'current active connections:\t           3\n' +
        'connections created:\t\t           6\tfailed:\t           7\n' +
        'connections updated:\t\t          10\tfailed:\t          11\n' +
        'connections destroyed:\t\t          13\tfailed:\t          14\n' +
        '\n' +
        'traffic processed:\n' +
        '                   1 Bytes                         2 Pckts\n' +
        '\n' +
        `UDP traffic (active device=va):\n${udpLines}` +
        'message tracking:\n' +
        '                   1 Malformed msgs                    9 Lost msgs\n' +
        '\n',
    );
    expect(generalText(counters)).toMatch(/2 Pckts\n\n$/);
  });

  it('a disabled internal cache counts its bypass, a disabled external one its injections', () => {
    const bypass = { kind: 'bypass', created: 1, updated: 2, destroyed: 3, dropped: 4 } as const;
    const inject = {
      kind: 'inject',
      created: 4,
      createFailed: 5,
      updated: 6,
      updateFailed: 7,
      destroyed: 8,
      destroyFailed: 9,
    } as const;
    const text =
      'internal bypass:\n' +
      'connections new:\t\t           1\n' +
      'connections updated:\t\t           2\n' +
      'connections destroyed:\t\t           3\n' +
      '\n' +
      'external inject:\n' +
      'connections created:\t\t           4\tfailed:\t           5\n' +
      'connections updated:\t\t           6\tfailed:\t           7\n' +
      'connections destroyed:\t\t           8\tfailed:\t           9\n' +
      '\n';
    expect(cacheText([bypass, inject])).toBe(text);
    expect(
      generalText({ tables: [bypass, inject], traffic: { bytes: 0, packets: 0 } }).startsWith(text),
    ).toBe(true);
  });

  it('a TCP link tells which sides are connected', () => {
    const tcp: LinkCounters = {
      ...udp,
      kind: 'tcp',
      serverConnected: true,
      clientConnected: false,
    };
    expect(networkText(network, tcp)).toContain(
      'TCP traffic (active device=va) server=connected client=disconnected:\n',
    );
  });
});

describe('conntrackd -s VIEW', () => {
  it('network, with the strangers in a multicast group when there were some', () => {
    const group: LinkCounters = { ...udp, kind: 'multicast' };
    expect(networkText({ ...network, strangers: 0n }, group)).toBe(networkText(network, group));
    expect(networkText({ ...network, strangers: 12n }, group)).toBe(
      `${networkText(network, group)}multicast group:\n` +
        '\tDatagrams of strangers:\t                  12\n\n',
    );
  });

  it('network', () => {
    expect(networkText(network, { ...udp, kind: 'multicast' })).toBe(
      'network statistics:\n\trecv:\n' +
        '\t\tMalformed messages:\t                   1\n' +
        '\t\tWrong protocol version:\t                   2\n' +
        '\t\tMalformed header:\t                   3\n' +
        '\t\tMalformed payload:\t                   4\n' +
        '\t\tBad message type:\t                   5\n' +
        '\t\tTruncated message:\t                   6\n' +
        '\t\tBad message size:\t                   7\n' +
        '\tsend:\n' +
        '\t\tMalformed messages:\t                   8\n' +
        '\n' +
        'sequence tracking statistics:\n\trecv:\n' +
        '\t\tPackets lost:\t\t                   9\n' +
        '\t\tPackets before:\t\t                  10\n' +
        '\n' +
        `multicast traffic (active device=va):\n${udpLines}`,
    );
  });

  it('cache', () => {
    expect(cacheText([internal])).toBe(
      'cache:internal\tactive objects:\t\t           5\n' +
        '\tactive/total entries:\t\t           3/           4\n' +
        '\tcreation OK/failed:\t\t           6/           7\n' +
        '\t\tno memory available:\t           8\n' +
        '\t\tno space left in cache:\t           9\n' +
        '\tupdate OK/failed:\t\t          10/          11\n' +
        '\t\tentry not found:\t          12\n' +
        '\tdeletion created/failed:\t          13/          14\n' +
        '\t\tentry not found:\t          15\n' +
        '\n',
    );
  });

  it('runtime', () => {
    expect(
      runtimeText({
        uptime: 59,
        eventsReceived: 1n,
        eventsFiltered: 2,
        eventsUnknown: 3,
        eventsCut: 0,
        catchFailed: 4,
        dumpUnknown: 5,
        overruns: 6,
        flushes: 7,
        resyncs: 8,
        bufferSize: 212992,
        childFailed: 9,
        childSegfault: 10,
        childTerminated: 11,
        selectFailed: 12,
        waitFailed: 13,
        localReadFailed: 14,
        localUnknown: 15,
      }),
    ).toBe(
      'daemon uptime: 0 min\n\n' +
        'netlink stats:\n' +
        '\tevents received:\t                   1\n' +
        '\tevents filtered:\t                   2\n' +
        '\tevents unknown type:\t\t           3\n' +
        '\tcatch event failed:\t\t           4\n' +
        '\tdump unknown type:\t\t           5\n' +
        '\tnetlink overrun:\t\t           6\n' +
        '\tflush kernel table:\t\t           7\n' +
        '\tresync with kernel table:\t           8\n' +
        '\tcurrent buffer size (in bytes):\t      212992\n' +
        '\n' +
        'runtime stats:\n' +
        '\tchild process failed:\t\t           9\n' +
        '\t\tchild process segfault:\t          10\n' +
        '\t\tchild process termsig:\t          11\n' +
        '\tselect failed:\t\t\t          12\n' +
        '\twait failed:\t\t\t          13\n' +
        '\tlocal read failed:\t\t          14\n' +
        '\tlocal unknown request:\t\t          15\n' +
        '\n',
    );
  });

  it.each([
    [0, '0 min'],
    [3599, '59 min'],
    [3600, '1 h 0 min'],
    [86_399, '23 h 59 min'],
    [86_400, '1 day 0 min'],
    [3 * 86_400 + 2 * 3600 + 5 * 60 + 7, '3 days 2 h 5 min'],
  ])('an uptime of %d s is `%s`', (seconds, text) => {
    expect(uptimeText(seconds)).toBe(text);
  });

  it('link', () => {
    const backup: LinkCounters = { ...udp, device: 'vb', status: 'NO-CARRIER', role: 'BACKUP' };
    expect(linksText([udp, backup])).toBe(
      `UDP traffic device=va status=RUNNING role=ACTIVE:\n${udpLines}` +
        `UDP traffic device=vb status=NO-CARRIER role=BACKUP:\n${udpLines}`,
    );
  });

  it('rsqueue', () => {
    expect(resendQueueText([])).toBe('resent queue (len=0)\n');
    expect(
      resendQueueText([
        { kind: 'control', sequence: 4, flags: 2 },
        { kind: 'object', sequence: 5 },
      ]),
    ).toBe('resent queue (len=2)\ncontrol -> seq:4 flags:2\nobject -> seq:5\n');
  });

  it('process', () => {
    expect(processText([])).toBe('');
    expect(
      processText([
        { pid: 12, type: 'flush' },
        { pid: 11, type: 'any' },
      ]),
    ).toBe('PID=12 type=flush\nPID=11 type=any\n');
  });

  it('queue', () => {
    expect(queueText(1, [{ name: 'txqueue', elements: 2, maximum: 2147483647, noSpace: 3 }])).toBe(
      'allocated queue nodes:\t\t           1\n\n' +
        'queue txqueue:\n' +
        'current elements:\t\t           2\n' +
        'maximum elements:\t\t  2147483647\n' +
        'not enough space errors:\t           3\n\n',
    );
  });
});
