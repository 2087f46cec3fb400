// What the command line prints besides plain lines: saved flows, columns and colours, the rows and
// the picture of --top.

import { describe, expect, test } from 'vitest';
import { decorator } from '../../../src/cli/decorate.js';
import { best } from '../../../src/cli/top/best.js';
import { picture, sized } from '../../../src/cli/top/screen.js';
import { Watch } from '../../../src/cli/top/view.js';
import { FlowReader } from '../../../src/report/flow.js';
import { flowSave } from '../../../src/report/save.js';
import { type DecodedFlow, writeFlow } from '../../flow-writer.js';

const view = new DataView(new ArrayBuffer(4096));
const AT = 1000;

function flowOf(flow: DecodedFlow): FlowReader {
  writeFlow(view, AT, flow);
  return new FlowReader(view, AT);
}

const TCP: DecodedFlow = {
  orig: { src: '1.1.1.1', dst: '2.2.2.2', proto: 6, sport: 10, dport: 20 },
  reply: { src: '2.2.2.2', dst: '1.1.1.1', proto: 6, sport: 20, dport: 10 },
  status: 0x10a,
  timeout: 49,
  mark: 3,
  protoinfo: { tcp: { state: 9 } },
};

describe('-o save', () => {
  test.each<[string, DecodedFlow, string]>([
    [
      'TCP',
      TCP,
      '-A -t 49 -u SEEN_REPLY -s 1.1.1.1 -d 2.2.2.2 -r 2.2.2.2 -q 1.1.1.1 -p tcp --sport 10 ' +
        '--dport 20 --reply-port-src 20 --reply-port-dst 10 --state SYN_SENT2',
    ],
    [
      'both translations',
      {
        ...TCP,
        status: 0x1b8,
        timeout: 499,
        reply: { src: '8.8.8.8', dst: '9.9.9.9', proto: 6, sport: 80, dport: 40 },
        protoinfo: { tcp: { state: 3 } },
      },
      '-A -t 499 -u UNSET -s 1.1.1.1 -d 2.2.2.2 -g 8.8.8.8 -n 9.9.9.9 -p tcp --sport 10 ' +
        '--dport 20 --reply-port-src 80 --reply-port-dst 40 --state ESTABLISHED',
    ],
    [
      'a ping in a zone',
      {
        orig: { src: '1.1.1.6', dst: '2.2.2.2', proto: 1, icmpType: 8, icmpCode: 0, icmpId: 3 },
        reply: { src: '2.2.2.2', dst: '1.1.1.6', proto: 1, icmpType: 0, icmpCode: 0, icmpId: 3 },
        status: 8,
        timeout: 399,
        zone: 3,
      },
      '-A -t 399 -u UNSET -w 3 -s 1.1.1.6 -d 2.2.2.2 -r 2.2.2.2 -q 1.1.1.6 -p icmp --icmp-type 8 ' +
        '--icmp-code 0 --icmp-id 3',
    ],
    [
      'SCTP, its tags with their bytes reversed',
      {
        orig: { ...TCP.orig!, proto: 132 },
        reply: { ...TCP.reply!, proto: 132 },
        status: 0x40e,
        protoinfo: { sctp: { state: 4, vtagOrig: 0x01000000, vtagReply: 0x02000000 } },
      },
      '-A -u SEEN_REPLY,ASSURED,FIXED_TIMEOUT -s 1.1.1.1 -d 2.2.2.2 -r 2.2.2.2 -q 1.1.1.1 -p sctp ' +
        '--sport 10 --dport 20 --reply-port-src 20 --reply-port-dst 10 --state ESTABLISHED ' +
        '--orig-vtag 1 --reply-vtag 2',
    ],
  ])('%s', (_, flow, line) => {
    expect(flowSave(flowOf(flow))).toBe(line);
  });

  test('the command tells the event', () => {
    expect(flowSave(flowOf(TCP), 'update')).toMatch(/^-U -t 49/);
    expect(flowSave(flowOf(TCP), 'destroy')).toMatch(/^-D -t 49/);
  });
});

describe('columns and colours', () => {
  const LINES = [
    'tcp      6 49 ESTABLISHED src=1.1.1.1 dst=2.2.2.2 sport=1 dport=2 [ASSURED] mark=0 use=1',
    'udp      17 431999 src=192.168.100.100 dst=2.2.2.2 sport=65000 dport=2 [UNREPLIED] mark=7 use=1',
  ];

  test('aligned fields begin in the same column', () => {
    const [one, other] = LINES.map(decorator(false, true)!);
    expect(one!.indexOf('dst=') - one!.indexOf('src=')).toBe(20);
    expect(other!.indexOf('dst=') - other!.indexOf('src=')).toBe(20);
    expect(one!.replace(/ +/g, ' ')).toBe(LINES[0]!.replace(/ +/g, ' '));
  });

  test('colours add nothing but escapes', () => {
    for (const line of LINES) {
      const painted = decorator(true, false)!(line);
      expect(painted).not.toBe(line);
      expect(
        painted
          .split('\x1b[')
          .map((part, i) => (i === 0 ? part : part.replace(/^\d+m/, '')))
          .join(''),
      ).toBe(line);
    }
  });

  test('nothing asked for, nothing done', () => {
    expect(decorator(false, false)).toBeUndefined();
  });
});

describe('--top', () => {
  const flow = (id: number, sport: number, bytes: number): DecodedFlow => ({
    ...TCP,
    id,
    orig: { ...TCP.orig!, src: `1.1.1.${sport % 2}`, sport },
    countersOrig: { packets: '1', bytes: `${bytes}` },
    countersReply: { packets: '2', bytes: '0' },
  });

  function look(watch: Watch, of: DecodedFlow[], filter = '', name: 'flows' | 'sources' = 'flows') {
    const looking = watch.look(name, 'rate', 2, filter, 2);
    for (const each of of) looking.take(flowOf(each));
    return watch.done(looking);
  }

  test('rates are what was added since the last look, busiest first', () => {
    const watch = new Watch();
    const first = look(watch, [flow(1, 10, 100), flow(2, 11, 100), flow(3, 12, 100)]);
    expect(first).toMatchObject({ flows: 3, rate: 0, added: 0, gone: 0, counted: true });
    const second = look(watch, [flow(1, 10, 100), flow(2, 11, 1100), flow(4, 13, 300)]);
    expect(second).toMatchObject({ flows: 3, rate: 650, added: 1, gone: 1 });
    expect(second.rows.map(({ title, rate }) => [title.includes(':11'), rate])).toEqual([
      [true, 500],
      [false, 150],
    ]);
  });

  test('sources are sums, and a filter hides what it does not match', () => {
    const watch = new Watch();
    const flows = [flow(1, 10, 5), flow(2, 12, 6), flow(3, 11, 100)];
    look(watch, []);
    const rows = look(watch, flows, '', 'sources').rows;
    expect(rows.map(({ title, bytes, flows, packets }) => [title, bytes, flows, packets])).toEqual([
      ['1.1.1.1', 100, 1, 3],
      ['1.1.1.0', 11, 2, 6],
    ]);
    expect(look(watch, flows, '1.1.1.0', 'sources').rows).toHaveLength(1);
    expect(look(watch, flows, 'dccp').rows).toEqual([]);
  });

  test('the best of many are kept in order', () => {
    const numbers = Array.from({ length: 1000 }, (_, i) => (i * 7919) % 1000);
    const kept = best<number>(5, (number) => number);
    for (const number of numbers) kept.offer(number, () => number);
    expect(kept.sorted()).toEqual([999, 998, 997, 996, 995]);
  });

  test('the picture fits the terminal', () => {
    const watch = new Watch();
    const seen = look(watch, [flow(1, 10, 100), flow(2, 11, 100)]);
    const mood = {
      view: 'flows',
      sort: 'rate',
      filter: '',
      typing: false,
      paused: false,
      interval: 1,
    } as const;
    const lines = picture(seen, mood, 60, 4, false);
    expect(lines).toHaveLength(4);
    expect(lines.every((line) => line.length <= 60)).toBe(true);
    expect(lines[0]).toContain('2 flows');
    expect(picture(seen, { ...mood, typing: true, filter: 'x' }, 60, 4, false)[1]).toBe(
      'filter: x_',
    );
  });

  test.each([
    [120, ['BYTES/s', 'BYTES', 'PACKETS', 'TIMEOUT'], true],
    [80, ['BYTES/s', 'BYTES', 'TIMEOUT'], false],
    [60, ['BYTES/s'], false],
  ])('%d columns show both ends of a flow, and the numbers beside', (columns, numbers, long) => {
    const seen = look(new Watch(), [flow(1, 10, 100)]);
    const mood = {
      view: 'flows',
      sort: 'rate',
      filter: '',
      typing: false,
      paused: false,
      interval: 1,
    } as const;
    const [, keys, heads, row] = picture(seen, mood, columns, 4, false);
    expect(heads!.trim().split(/\s+/).slice(1)).toEqual(numbers);
    expect(row).toMatch(/^tcp +1\.1\.1\.0:10 +> +2\.2\.2\.2:20 /);
    expect(keys).toMatch(/^q quit /);
    expect(keys!.includes('r)ate')).toBe(long);
    const bySize = picture(seen, { ...mood, sort: 'packets' }, 60, 4, false)[2];
    expect(bySize!.trim().split(/\s+/).slice(1)).toEqual(['PACKETS']);
  });

  test('a flow without ports shows what it has instead', () => {
    const ping = {
      ...TCP,
      orig: { src: '1.1.1.6', dst: '2.2.2.2', proto: 1, icmpType: 8, icmpCode: 0, icmpId: 3 },
    };
    const { rows } = look(new Watch(), [ping]);
    expect(rows.map(({ title, detail }) => `${title} ${detail}`)).toEqual([
      'icmp   1.1.1.6               > 2.2.2.2               type 8 id 3',
    ]);
    expect(look(new Watch(), [ping], 'type 8').rows).toHaveLength(1);
  });

  test.each([
    [0, '0'],
    [999, '999'],
    [1500, '1.5k'],
    [123_456_789, '123M'],
  ])('%d is written %s', (value, text) => {
    expect(sized(value)).toBe(text);
  });
});
