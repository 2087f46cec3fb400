// Who answers which request, and the bytes on the control socket.

import { describe, expect, it } from 'vitest';
import {
  decodeRequest,
  decodeStatus,
  encodeRequest,
  encodeStatus,
  type Mode,
  Request,
  refusal,
  requestName,
} from '../../../src/control/protocol.js';

const ftfw: Mode = { kind: 'sync', replication: 'ftfw', expectations: true };
const modes: Readonly<Record<string, Mode>> = {
  ftfw,
  notrack: { kind: 'sync', replication: 'notrack', expectations: true },
  alarm: { kind: 'sync', replication: 'alarm', expectations: true },
  plain: { kind: 'sync', replication: 'ftfw', expectations: false },
  stats: { kind: 'stats' },
  idle: { kind: 'idle' },
};

/** The requests that a mode refuses. */
function refused(mode: string): number[] {
  const codes: number[] = Object.values(Request);
  return codes.filter((code) => refusal(code, modes[mode]!) !== undefined);
}

describe('who answers', () => {
  it('FTFW with expectations answers everything', () => {
    expect(refused('ftfw')).toEqual([]);
  });

  it('NOTRACK has no resend queue, ALARM neither resync nor bulk send', () => {
    expect(refused('notrack')).toEqual([32]);
    expect(refused('alarm')).toEqual([22, 23, 32]);
  });

  it('without ExpectationSync their commands are refused, but not their XML dumps', () => {
    expect(refused('plain')).toEqual([37, 38, 39, 40, 41, 42]);
  });

  it('Stats mode and idle mode answer little', () => {
    const all: number[] = Object.values(Request);
    const inStats = [0, 1, 16, 19, 20, 21, 24, 29, 30, 33, 35, 43, 44];
    expect(refused('stats')).toEqual(all.filter((code) => !inStats.includes(code)));
    expect(refused('idle')).toEqual(all.filter((code) => ![20, 30, 35].includes(code)));
  });

  it('a refusal tells what and why', () => {
    expect(refusal(Request.SEND_BULK, modes.alarm!)).toBe('no send bulk in ALARM mode');
    expect(refusal(Request.COMMIT, modes.stats!)).toBe('no commit in Stats mode');
  });

  it('27 and everything beyond 48 are no requests', () => {
    for (const code of [-1, 2, 15, 27, 49, 65536]) {
      expect(requestName(code)).toBeUndefined();
      expect(refusal(code, ftfw)).toBe(`unknown request ${code}`);
    }
  });
});

describe('bytes', () => {
  it('a request is four bytes in host order', () => {
    expect(Array.from(encodeRequest(21))).toEqual([21, 0, 0, 0]);
    expect(decodeRequest(Uint8Array.from([0xff, 0xff, 0xff, 0xff]))).toBe(-1);
    const shifted = new Uint8Array(7).subarray(3);
    shifted.set(encodeRequest(0x10015));
    expect(decodeRequest(shifted)).toBe(0x10015);
  });

  it('a status survives the way, one that was cut is none', () => {
    const text = encodeStatus(3, 'two\nlines');
    expect(decodeStatus(text)).toEqual({ exit: 3, message: 'two lines' });
    expect(decodeStatus(encodeStatus(0, ''))).toEqual({ exit: 0, message: '' });
    for (let end = 0; end < text.length; end++) {
      expect(decodeStatus(text.slice(0, end))).toBeUndefined();
    }
  });
});
