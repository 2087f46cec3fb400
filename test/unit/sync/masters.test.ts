// The GET of an expectation's master, made from the event that announced the expectation.

import { expect, test } from 'vitest';
import { requestOf } from '../../../src/sync/masters.js';
import { EXPECTS } from '../ctnetlink/wide.js';

const NEW = EXPECTS.filter(({ event }) => event === 'EXP_NEW');

test('asks for the flow by the original tuple of the master', () => {
  expect(NEW.length).toBeGreaterThan(0);
  for (const { hex } of NEW) {
    const event = Buffer.from(hex, 'hex');
    const request = requestOf(event)!;
    expect(request.readUInt32LE(0)).toBe(request.length);
    expect(request.readUInt16LE(4)).toBe(0x101); // IPCTNL_MSG_CT_GET
    expect(request[16]).toBe(event[16]); // the family
    // The tuple behind its header is the event's master, under another type.
    const length = request.readUInt16LE(20);
    expect(request.readUInt16LE(22)).toBe(0x8001); // CTA_TUPLE_ORIG, nested
    expect(event.toString('hex')).toContain(request.subarray(24, 20 + length).toString('hex'));
  }
});

test('an event cut anywhere makes a whole request or none', () => {
  for (const { hex } of NEW) {
    const event = Buffer.from(hex, 'hex');
    for (let length = 20; length < event.length; length++) {
      const request = requestOf(event.subarray(0, length));
      if (request !== undefined) expect(request.readUInt32LE(0)).toBe(request.length);
    }
  }
});
