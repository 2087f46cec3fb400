// Command lines and the complaints about them, as scripts know them from the C command.

import { describe, expect, test } from 'vitest';
import { CommandError } from '../../../src/cli/complain.js';
import { parseLabelMap } from '../../../src/cli/labels.js';
import { splitWords } from '../../../src/cli/lines.js';
import { parseCommandLine } from '../../../src/cli/parse.js';
import { P } from '../../../src/cli/protocols.js';
import { LABEL_MAP_FILE } from './label-map.js';

const warnings: string[] = [];

function parse(line: string) {
  warnings.length = 0;
  return parseCommandLine(splitWords(line), { warn: (text) => warnings.push(text) });
}

/** What a command line is refused with: its text and the exit status. */
function complaint(line: string): string {
  try {
    parse(line);
  } catch (error) {
    if (error instanceof CommandError) return `${error.exit} ${error.message}`;
    throw error;
  }
  return 'accepted';
}

const NEW = '-I -s 1.1.1.1 -d 2.2.2.2 -t 5';
const EXPECT =
  '-I expect -s 1.1.1.1 -d 2.2.2.2 -t 5 --tuple-src 1.1.1.1 --tuple-dst 2.2.2.2 ' +
  '--mask-src 1.1.1.1 --mask-dst 1.1.1.1';

describe('words', () => {
  test.each([
    ['-s 1.1.1.1', "2 Illegal option `--src' with this command"],
    ['-V -s 1.1.1.1', "2 Illegal option `--src' with this command"],
    ['-L foo', "2 unknown type `foo'"],
    ['-V foo', "2 unknown type `foo'"],
    ['-L -L', '2 Invalid commands combination'],
    ['-L --dump', '2 Invalid commands combination'],
    ['-L -s', "2 option `-s' requires an argument"],
    ['-L -zs', "2 option `-zs' requires an argument"],
    ['-L --sr 1.1.1.1', "2 unknown option `--sr'"],
    ['-L --stat 1', "2 unknown option `--stat'"],
    ['-L --orig 1', "2 unknown option `--orig'"],
    ['-L -zy', "2 unknown option `-zy'"],
    ['-L --zero=4', "2 unknown option `--zero=4'"],
    ['-L --state ESTABLISHED', "2 unknown option `--state'"],
    ['-R', "2 unknown option `-R'"],
    ['--load-file=foo', "2 unknown option `--load-file=foo'"],
    ['-U expect', "2 Can't do --update on expectations"],
    ['-A expect', "2 Can't do --add on expectations"],
    ['-D dying', "2 Can't do that command with tables `dying' and `unconfirmed'"],
    ['-L -Lx', '2 Invalid commands combination'],
    ['-L -e NEW', "2 Illegal option `--event-mask' with this command"],
    ['-L -b 55', "2 Illegal option `--buffer-size' with this command"],
    ['-E -t 5', "2 Illegal option `--timeout' with this command"],
    ['-F -p tcp', "2 Illegal option `--protonum' with this command"],
    ['-L -z -s 1.1.1.1', "2 Can't use -z with filtering parameters"],
    ['-L --any-nat --src-nat', "2 cannot specify `--src-nat' or `--dst-nat' with `--any-nat'"],
    ['-L --mask-src 255.0.0.0', "2 Can't use --mask-src without --src"],
    ['-L -r 1.1.1.1 --mask-dst 255.0.0.0', "2 Can't use --mask-dst without --dst"],
    ['-G -s 1.1.1.1/24 -d 2.2.2.2 -p udp', "2 Illegal option `--mask-src' with this command"],
    ['-L -o save,xml', '1 cannot combine save output with any other output type, use -o save only'],
    [
      '-L -o id -o save',
      '1 cannot combine save output with any other output type, use -o save only',
    ],
  ])('%s', (line, expected) => {
    expect(complaint(line)).toBe(expected);
  });

  test('values are attached or separate, short options cluster, operands are skipped', () => {
    const request = parse('foo -zL dying bar -fipv6 --output=id');
    expect(request.table).toBe('dying');
    expect(request.has('zero')).toBe(true);
    expect(request.family).toBe(10);
    expect(request.output).toBe(8);
  });

  test.each(['-L', '-Lexpect', '--dump=expect', '-L - foo', '-L -- -s 1', "-L '!foo'"])(
    '%s means the flow table',
    (line) => {
      expect(parse(line.replaceAll("'", '')).table).toBe('conntrack');
    },
  );

  test.each(['e', 'exp', 'c', 'd', 'u'])('%s is enough of a table', (name) => {
    expect(complaint(`-L ${name}`)).toBe('accepted');
  });

  test('an optional value is the next word unless that is an option', () => {
    expect(parse('-L -n 1.2.3.4:80').srcNat?.port).toBe(80);
    expect(parse('-L -n -f ipv4').srcNat).toBeUndefined();
    expect(parse('-L --src-nat=1.2.3.4').srcNat?.address.bytes.join('.')).toBe('1.2.3.4');
  });
});

describe('what must stand together', () => {
  test.each([
    ['-I', "2 You need to supply the `--protonum' option for this command"],
    [
      NEW.replace(' -t 5', ' -p tcp'),
      "2 You need to supply the `--timeout' option for this command",
    ],
    [`${NEW} -p tcp`, "2 You need to supply the `--state' option for this command"],
    [`${NEW} -p udp`, "2 you have to specify `--sport' and `--dport'"],
    [`${NEW} -p udp --sport 1`, "2 you have to specify `--sport' and `--dport'"],
    [
      `${NEW} -p udp --reply-port-src 1`,
      "2 you have to specify `--reply-src-port' and `--reply-dst-port'",
    ],
    [
      `${NEW} -p dccp --state OPEN --role client --reply-port-src 1`,
      "2 you have to specify `--reply-port-src' and `--report-port-dst'",
    ],
    [`${NEW} -p gre`, "2 you have to specify `--srckey' and `--dstkey'"],
    [
      `${NEW} -p gre --reply-key-src 1`,
      "2 you have to specify `--reply-src-key' and `--reply-dst-key'",
    ],
    [`${NEW} -p icmp`, "2 You need to supply the `--icmp-type' option for this command"],
    [
      `${NEW} -p icmp --icmp-type 8`,
      "2 You need to supply the `--icmp-code' option for this command",
    ],
    [
      `${NEW} -p sctp --sport 1 --dport 2 --state ESTABLISHED`,
      "2 You need to supply the `--orig-vtag' option for this command",
    ],
    ['-G -p tcp', "2 you have to specify `--src' and `--dst'"],
    ['-G -r 1.1.1.1 -p tcp', "2 you have to specify `--reply-src' and `--reply-dst'"],
    ['-G -r 1.1.1.1 -s 1.1.1.1 -p tcp', "2 you have to specify `--src' and `--dst'"],
    ['-G -s 1.1.1.1 -d 2.2.2.2 -p tcp', "2 you have to specify `--sport' and `--dport'"],
    ['-L -p tcp --mask-port-src 1', "2 Illegal option `--mask-port-src' with this command"],
    ['-L -p sctp --orig-vtag 1', "2 Illegal option `--orig-vtag' with this command"],
    ['-L -p dccp --role client', "2 Illegal option `--role' with this command"],
    [`${EXPECT} -p tcp`, "2 You need to supply the `--sport' option for this command"],
    [
      `${EXPECT} -p tcp --sport 1 --dport 1`,
      "2 You need to supply the `--mask-port-src' option for this command",
    ],
    [
      `${EXPECT} -p gre --srckey 1 --dstkey 1`,
      "2 You need to supply the `--reply-key-src' option for this command",
    ],
    [
      '-D expect -s 1.1.1.1 -d 2.2.2.2 -p tcp --sport 1 --dport 1',
      "2 You need to supply the `--reply-port-src' option for this command",
    ],
    [`${EXPECT} -p icmp`, 'accepted'],
    // The C command creates a flow of protocol 0 here.
    [
      '-I -r 2.2.2.2 -q 1.1.1.1 -t 5 -p udp --sport 1 --dport 2',
      "2 you have to specify `--reply-src-port' and `--reply-dst-port'",
    ],
  ])('%s', (line, expected) => {
    expect(complaint(line)).toBe(expected);
  });
});

describe('values', () => {
  test.each([
    ['-L -f ipv4 -s ::1', '2 mismatched address family'],
    ['-L -s ::1 -f ipv4', '2 mismatched address family'],
    ['-L -s 1.1.1.1 -n ::1', '2 mismatched address family'],
    ['-L -f ipv4foo', 'accepted'],
    ['-L -f IPV4', "2 `IPV4' unsupported protocol"],
    ['-L -s 1.1.1.1/33', '2 Invalid netmask'],
    ['-L -s 1.1.1.1/255.0.0.0', '2 Invalid netmask'],
    ['-L -s 1.1.1.1/-1', '2 Invalid netmask'],
    ['-L -s ::1/129', '2 Invalid netmask'],
    ['-L -s 1.1.1.1/', 'accepted'],
    ['-L -r 1.1.1.1/24', "2 CIDR notation unavailable for `--reply-src'"],
    ['-L -j 1.1.1.1/24', "2 CIDR notation unavailable for `--any-nat'"],
    ['-L -s 1.1.1.1.1', "2 Invalid IP address `1.1.1.1.1'"],
    ['-L -s ::1::2', "2 Invalid IP address `::1::2'"],
    ['-L -s [::1]', "2 Invalid IP address `[::1]'"],
    ['-L -s 256.1.1.1', "2 Invalid IP address `256.1.1.1'"],
    ['-L -n 1.1.1.1:', "2 No port specified after `:'"],
    ['-L -n 1.1.1.1:65536', "2 Invalid port `65536'"],
    ['-L -n [1.1.1.1]', "2 Invalid IP address `[1.1.1.1]'"],
    ['-L -n [1.1.1.1]:80', 'accepted'],
    ['-L -n [::1', "2 No closing ']' around IPv6 address"],
    ['-L -n []:80', '2 No IPv6 address specified'],
    ['-L -n :80', "2 Invalid IP address `'"],
    ['-L -n 1.1.1.1:80:80', "2 Invalid IP address `1.1.1.1:80:80'"],
    ['-L -p 20foo', "2 `20foo' unsupported protocol"],
    ['-L -p 256', "2 `256' unsupported protocol"],
    ['-L -p -10', "2 `-10' unsupported protocol"],
    ['-L -p tcp --state x', "2 unknown TCP state `x'"],
    ['-L -p sctp --state x', "2 unknown SCTP state `x'"],
    ['-L -p dccp --state x', "2 Unknown DCCP state `x'"],
    ['-L -p tcp --dport http', "2 Invalid port `http'"],
    ['-L -u !UNREPLIED', "2 Bad parameter `UNREPLIED'"],
    ['-L -u unreplied', "2 Bad parameter `unreplied'"],
    ['-L -u ASSURED,', "2 Bad parameter `'"],
    ['-L -u ,ASSURED', "2 Bad parameter `,ASSURED'"],
    ['-L -u ASSURED,foo,SEEN', "2 Bad parameter `foo,SEEN'"],
    ['-L -o xml,foo', "2 Bad parameter `foo'"],
    ['-E -e x', "2 Bad parameter `x'"],
    ['-L -w 70000', "1 unexpected value '70000' with -w option"],
    ['-L -w 1.5', "1 unexpected value '1.5' with -w option"],
    ['-L -m abc', "1 unexpected value 'abc' with -m option"],
    ['-L --orig-zone x', "1 unexpected value 'x' with -( option"],
    ['-L -c 4294967296', "1 unexpected value '4294967296' with -c option"],
    ['-L -l none', "2 unknown label 'none'"],
    ['-U --label-add a --label-del b', '1 cannot use --label-add and --label-del at the same time'],
    ['-L --labelmap a --labelmap b', "2 option `--labelmap' can only be specified once"],
  ])('%s', (line, expected) => {
    expect(complaint(line)).toBe(expected);
  });

  test.each([
    ['1', '0.0.0.1'],
    ['1.1', '1.0.0.1'],
    ['0x01010101', '1.1.1.1'],
    ['010.1.1.1', '8.1.1.1'],
    ['1.2.3', '1.2.0.3'],
  ])('address %s is %s', (text, address) => {
    expect(parse(`-L -s ${text}`).orig.src?.bytes.join('.')).toBe(address);
  });

  test('an IPv6 address may end in a dotted quad', () => {
    const { bytes } = parse('-L -s 2001:DB8::1.2.3.4').orig.src!;
    expect(Buffer.from(bytes).toString('hex')).toBe('20010db8000000000000000001020304');
  });

  test('a prefix is a mask, and the later of both counts', () => {
    const mask = (line: string) => parse(line).mask.src?.bytes.join('.');
    expect(mask('-L -s 1.2.3.4/20')).toBe('255.255.240.0');
    expect(mask('-L -s 1.2.3.4/32')).toBeUndefined();
    expect(mask('-L -s 1.2.3.4/8 --mask-src 255.255.0.0')).toBe('255.255.0.0');
    expect(mask('-L --mask-src 255.255.0.0 -s 1.2.3.4/8')).toBe('255.0.0.0');
  });

  test('status lists hold bits to be set and bits to be clear', () => {
    expect(parse('-L -u assured,!SEEN').status).toEqual({ set: 4, clear: 2 });
    expect(parse('-L -u UNREPLIEDfoo').status).toEqual({ set: 0, clear: 2 });
    expect(parse('-L -u S').status).toEqual({ set: 0, clear: 0 });
    expect(warnings).toEqual(['WARNING: ignoring SRC_NAT, use --src-nat instead']);
  });

  test('numbers are those of C', () => {
    expect(parse('-L -m 0x10/017').mark).toEqual({ value: 16, mask: 15 });
    expect(parse('-L -m 5/').mark).toEqual({ value: 5, mask: 0 });
    expect(parse('-U -t -1').timeout).toBe(4294967295);
    expect(parse('-U -t abc').timeout).toBe(0);
    expect(parse('-L -p udp --dport 65537').values[P.dport]).toBe(1);
    expect(parse('-L -p gre --srckey 0xabc').values[P.sport]).toBe(0xabc);
  });

  test.each([
    ['TCP', 6],
    ['0x11', 17],
    ['udplite', 136],
    ['200', 200],
    ['igmp', 2],
  ])('protocol %s is number %i', (name, number) => {
    expect(parse(`-L -p ${name}`).choice?.number).toBe(number);
  });

  test('a protocol by its system name brings no options', () => {
    expect(complaint('-L -p ipv6-icmp --icmpv6-type 128')).toBe("2 unknown option `--icmpv6-type'");
    expect(complaint('-L -p 58 --icmpv6-type 128')).toBe('accepted');
  });

  test('LISTEN is SYN_SENT2', () => {
    expect(parse('-L -p tcp --state LISTEN').values[P.state]).toBe(9);
  });

  test('every name of a list of labels counts', () => {
    const request = parse(`-L -l foo,bar --labelmap ${LABEL_MAP_FILE}`);
    expect([...request.label!]).toEqual([6, ...new Array(15).fill(0)]);
  });
});

test('a label map skips what is no label, and the first of equals wins', () => {
  const map = parseLabelMap('# c\n1 a\n 0x2 b c \n3\n1 x\n4 a\n128 y\n5 ä\n010 oct\n');
  expect([...map]).toEqual([
    [1, 'a'],
    [2, 'b c'],
    [8, 'oct'],
  ]);
});

test('words of a line are grouped by double quotes only', () => {
  expect(splitWords(`conntrack -L "a b\\"c" d"e f" 'g h'`)).toEqual([
    '-L',
    'a b"c',
    'de f',
    "'g",
    "h'",
  ]);
  expect(() => splitWords('x '.repeat(254))).toThrow('too many arguments');
  expect(() => splitWords('x'.repeat(1024))).toThrow('Parameter too long!');
});
