// What nodes tell each other about digests: read as it was written, and a part that is not what it
// should be is not told at all.

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  type DigestParts,
  rangesPart,
  readDigestParts,
  repairPart,
  saidPart,
  sumsPart,
  VERDICTS,
  verdictPart,
  wantedPart,
} from '../../../src/sync/digest-parts.js';
import { appendTail, PART, type Part, readTail } from '../../../src/sync/tail.js';

const view = new DataView(new ArrayBuffer(4096));

/** The parts as a peer reads them out of an ALIVE. */
function travel(...parts: Part[]): DigestParts {
  view.setUint32(0, 0x10000008);
  appendTail(view, 0, 8, parts);
  const tail = readTail(view, 0, 8);
  if (tail === undefined) throw new Error('no tail');
  return readDigestParts(tail);
}

const sumsOf = (length: number): fc.Arbitrary<BigUint64Array> =>
  fc
    .array(fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), { minLength: length, maxLength: length })
    .map((list) => BigUint64Array.from(list));

describe('parts about digests', () => {
  it('arrive as they were sent', () => {
    const bitmap = fc.uint8Array({ minLength: 128, maxLength: 128 });
    const id = fc.nat(2 ** 32 - 1);
    fc.assert(
      fc.property(
        sumsOf(16),
        sumsOf(64),
        fc.nat(15),
        bitmap,
        id,
        (few, sums, group, ranges, id) => {
          expect(travel(sumsPart(few), wantedPart(group * 4369))).toEqual({
            sums: few,
            wanted: group * 4369,
          });
          expect(travel(rangesPart(group, sums))).toEqual({ ranges: { group, sums } });
          expect(travel(repairPart(id, ranges))).toEqual({ repair: { id, ranges } });
          expect(travel(saidPart(id, group, sums))).toEqual({ said: { id, group, sums } });
        },
      ),
      { numRuns: 50 },
    );
    for (const verdict of VERDICTS) {
      expect(travel(verdictPart(2n ** 63n + 1n, verdict))).toEqual({
        verdicts: [{ node: 2n ** 63n + 1n, verdict }],
      });
    }
  });

  it('say nothing with another length, group or verdict', () => {
    const whole = [
      sumsPart(new BigUint64Array(16)),
      wantedPart(1),
      rangesPart(1, new BigUint64Array(64)),
      repairPart(1, new Uint8Array(128)),
      saidPart(1, 1, new BigUint64Array(64)),
      verdictPart(1n, 'equal'),
    ];
    for (const { type, value } of whole) {
      expect(Object.keys(travel({ type, value }))).toHaveLength(1);
      expect(travel({ type, value: value.subarray(1) })).toEqual({});
      expect(travel({ type, value: Uint8Array.of(...value, 0) })).toEqual({});
    }
    expect(travel(rangesPart(16, new BigUint64Array(64)))).toEqual({});
    expect(travel(saidPart(1, 65535, new BigUint64Array(64)))).toEqual({});
    const strange = verdictPart(1n, 'equal');
    strange.value[8] = VERDICTS.length;
    expect(travel(strange)).toEqual({});
  });

  it('are read without harm whatever they hold', () => {
    const any = fc.record({
      type: fc.integer({ min: PART.DIGEST_FIRST, max: PART.DIGEST_LAST }),
      value: fc.uint8Array({ maxLength: 600 }),
    });
    fc.assert(
      fc.property(fc.array(any, { maxLength: 5 }), (parts) => {
        const { ranges, said } = travel(...parts);
        expect(ranges?.group ?? 0).toBeLessThan(16);
        expect(said?.group ?? 0).toBeLessThan(16);
      }),
    );
  });
});
