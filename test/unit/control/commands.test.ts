// Every rule of the command line of conntrackd, as a table: what scripts have typed for years.

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { DEFAULT_CONFIG_FILE, parseArguments, usageText } from '../../../src/control/commands.js';
import { Request } from '../../../src/control/protocol.js';

/** The request code that a command line leads to, or the kind of its end. */
function outcome(line: string | readonly string[]): unknown {
  const argv = typeof line === 'string' ? line.split(' ').filter((word) => word !== '') : line;
  const command = parseArguments(argv);
  if (command.kind === 'client') {
    expect(command.requests).toHaveLength(1);
    return command.requests[0];
  }
  if (command.kind === 'usage-error') return command.message;
  if (command.kind === 'daemon') return command.detach ? 'background' : 'foreground';
  return command.kind;
}

describe('a client option sends its request', () => {
  it.each([
    ['-i', 16],
    ['-i ct', 16],
    ['-i expect', 40],
    ['-i -x', 24],
    ['-i ct -x', 24],
    ['-i expect -x', 47],
    ['-e', 17],
    ['-e ct', 17],
    ['-e expect', 41],
    ['-e -x', 25],
    ['-e expect -x', 48],
    ['-c', 46],
    ['-c ct', 18],
    ['-c expect', 42],
    ['-f', 45],
    ['-f internal', 33],
    ['-f external', 34],
    ['-F', 43],
    ['-F ct', 0],
    ['-F expect', 38],
    ['-R', 44],
    ['-R ct', 1],
    ['-R expect', 39],
    ['-B', 22],
    ['-n', 23],
    ['-t', 26],
    ['-k', 20],
    ['-s', 21],
    ['-s network', 28],
    ['-s cache', 29],
    ['-s runtime', 30],
    ['-s multicast', 31],
    ['-s link', 31],
    ['-s rsqueue', 32],
    ['-s process', 35],
    ['-s queue', 36],
    ['-s ct', 21],
    ['-s expect', 37],
  ])('%s -> %d', (line, code) => {
    expect(outcome(line)).toBe(code);
  });
});

describe('a parameter is any prefix of its word, tried in order', () => {
  it.each<[string | string[], number]>([
    ['-c exp', Request.COMMIT_EXPECT],
    ['-i e', Request.DUMP_INTERNAL_EXPECT],
    ['-F c', Request.FLUSH_KERNEL_FLOWS],
    ['-s c', Request.STATISTICS_CACHE],
    ['-s ct', Request.STATISTICS],
    ['-s r', Request.STATISTICS_RUNTIME],
    ['-s rs', Request.STATISTICS_RESEND_QUEUE],
    ['-s p', Request.STATISTICS_PROCESS],
    ['-s n', Request.STATISTICS_NETWORK],
    ['-s exp', Request.STATISTICS_EXPECT],
    [['-s', ''], Request.STATISTICS_NETWORK],
    [['-f', ''], Request.FLUSH_INTERNAL],
    [['-i', ''], Request.DUMP_INTERNAL],
  ])('%j -> %d', (line, code) => {
    expect(outcome(line)).toBe(code);
  });

  it('an argument that begins with a dash is no parameter', () => {
    expect(outcome('-s -n')).toBe(Request.REQUEST_RESYNC);
    expect(outcome('-i -x')).toBe(Request.DUMP_INTERNAL_XML);
  });

  it('-s and -f insist on their words', () => {
    expect(parseArguments(['-s', 'foo'])).toEqual({
      kind: 'usage-error',
      message: "unknown parameter `foo' for option `-s'",
      exit: 1,
      usage: false,
    });
    expect(outcome('-f bar')).toBe("unknown parameter `bar' for option `-f'");
  });

  it('the others leave a strange word to be read as an option', () => {
    for (const option of ['-i', '-e', '-c', '-F', '-R']) {
      expect(outcome(`${option} foo`)).toBe('Unknown option: foo');
      // `xt` reads as -t, `tx` as -x, and there is no dump for it to modify.
      expect(outcome(`${option} xt`)).toBe(Request.SCHEDULE_PURGE);
      expect(outcome(`${option} tx`)).toBe('Invalid parameters');
      expect(outcome(`-e ${option} tx`)).toBe(Request.DUMP_EXTERNAL_XML);
      expect(outcome(`-s ${option} xC file`)).toBe(Request.STATISTICS);
      expect(outcome(`${option} xC file`)).toBe('Invalid parameters');
      expect(outcome(`${option} xd`)).toBe('Invalid parameters');
    }
  });

  it('options without words take none', () => {
    for (const option of ['-B', '-n', '-t', '-k']) {
      expect(outcome(`${option} ct`)).toBe(Request.SCHEDULE_PURGE); // `ct` reads as -t
      expect(outcome(`${option} exp`)).toBe('Invalid parameters'); // `exp` reads as -x
    }
  });

  it('multicast still works for link, with a warning', () => {
    expect(parseArguments(['-s', 'multicast'])).toMatchObject({
      requests: [Request.STATISTICS_LINK],
      warnings: ["use `link' instead of `multicast' as parameter."],
    });
    expect(parseArguments(['-s', 'link'])).toMatchObject({ warnings: [] });
  });
});

describe('the second character alone selects an option', () => {
  it.each<[string | string[], unknown]>([
    ['-dfoo', 'background'],
    ['xd', 'background'],
    ['-iZZ', Request.DUMP_INTERNAL],
    ['-iZZ expect', Request.DUMP_INTERNAL_EXPECT],
    ['ct', Request.SCHEDULE_PURGE],
    ['-i ct -x ct', Request.SCHEDULE_PURGE],
    ['-', 'Unknown option: -'],
    [[''], 'Unknown option: '],
    ['-z', 'Unknown option: -z'],
    ['x', 'Unknown option: x'],
    ['-constructor', Request.COMMIT],
    ['foo', 'Unknown option: foo'],
    ['-ox', 'Unknown option: -ox'],
  ])('%j -> %s', (line, expected) => {
    expect(outcome(line)).toBe(expected);
  });
});

describe('mixing', () => {
  it.each<[string, unknown]>([
    ['', 'foreground'],
    ['-d', 'background'],
    ['-d -d', 'background'],
    ['-C f', 'foreground'],
    ['-d -C f', 'background'],
    ['-s -i', Request.DUMP_INTERNAL],
    ['-i -s -s network', Request.STATISTICS_NETWORK],
    ['-i -e -x', Request.DUMP_EXTERNAL_XML],
    ['-i -x -s', Request.STATISTICS],
    ['-d -s', 'Invalid parameters'],
    ['-s -d', 'Invalid parameters'],
    ['-k xd', 'Invalid parameters'],
    ['-x', 'Invalid parameters'],
    ['-x -i', 'Invalid parameters'],
    ['-s -x', 'Invalid parameters'],
    ['-i -x -x', 'Invalid parameters'],
    ['-i -s -x', 'Invalid parameters'],
    ['-d -x', 'Invalid parameters'],
    ['-d -s -v', 'Invalid parameters'],
    ['-s -v', 'version'],
    ['-v -d -s', 'version'],
    ['-s -h', 'help'],
    ['-s -z -h', 'Unknown option: -z'],
  ])('%s -> %s', (line, expected) => {
    expect(outcome(line)).toBe(expected);
  });

  it('every usage error exits with 1, and those of syntax show the usage', () => {
    for (const line of ['-z', '-x', '-d -s', '-C']) {
      expect(parseArguments(line.split(' '))).toMatchObject({ exit: 1, usage: true });
    }
  });
});

describe('the configuration file', () => {
  it('has a default', () => {
    expect(parseArguments(['-s'])).toMatchObject({ configFile: DEFAULT_CONFIG_FILE });
    expect(DEFAULT_CONFIG_FILE).toBe('/etc/conntrackd/conntrackd.conf');
  });

  it('may stand anywhere, the last one wins, and a dash does not protect it', () => {
    expect(parseArguments(['-s', '-C', 'a', '-C', 'b'])).toMatchObject({ configFile: 'b' });
    expect(parseArguments(['-C', '-s'])).toMatchObject({ kind: 'daemon', configFile: '-s' });
  });

  it('must be named', () => {
    expect(outcome('-s -C')).toBe('Missing config filename');
  });

  it('is cut to 4096 characters with a warning', () => {
    const command = parseArguments(['-C', 'a'.repeat(4097), '-s']);
    expect(command).toMatchObject({ kind: 'client', configFile: 'a'.repeat(4096) });
    expect(command).toHaveProperty('warnings', [expect.stringContaining('4096 characters')]);
    const fits = parseArguments(['-C', 'a'.repeat(4096), '-s']);
    expect(fits).toMatchObject({ configFile: 'a'.repeat(4096), warnings: [] });
  });
});

describe('long options are ours', () => {
  it.each<[string, unknown]>([
    ['--help', 'help'],
    ['--version', 'version'],
    ['--check', 'check'],
    ['--check -C file', 'check'],
    ['--check -s', 'Invalid parameters'],
    ['-d --check', 'Invalid parameters'],
    ['--promote', 0x100],
    ['--demote', 0x101],
    ['--promote -o json', 0x300],
    ['-d --promote', 'Invalid parameters'],
    ['-i -o json', 0x210],
    ['-o json -e ct', 0x211],
    ['-s runtime -o json', 0x21e],
    ['-c -o json', 0x22e],
    ['-i -x -o json', 'This command has no JSON output'],
    ['-k -o json', 'This command has no JSON output'],
    ['-o', 'Missing output format'],
    ['-i -o yaml', "unknown parameter `yaml' for option `-o'"],
    ['--', 'Unknown option: --'],
    ['--dump', 'Unknown option: --dump'],
  ])('%s -> %s', (line, expected) => {
    expect(outcome(line)).toBe(expected);
  });
});

describe('any command line', () => {
  it('ends in a decision', () => {
    const word = fc.constantFrom('-s', '-i', '-d', '-C', '-x', 'ct', 'e', '', '-', '--', 'network');
    fc.assert(
      fc.property(fc.array(fc.oneof(word, fc.string())), (argv) => {
        expect(parseArguments(argv).kind).toMatch(/^(daemon|client|help|version|usage-error)$/);
      }),
    );
  });

  it('a prefix of a word selects what the first word with that prefix selects', () => {
    const views = 'network cache runtime multicast link rsqueue process queue ct expect'.split(' ');
    for (const view of views) {
      for (let length = 1; length <= view.length; length++) {
        const prefix = view.slice(0, length);
        const first = views.find((word) => word.startsWith(prefix))!;
        expect(outcome(['-s', prefix])).toBe(outcome(['-s', first]));
      }
    }
  });

  it('the usage text names every single-dash option', () => {
    const usage = usageText('conntrackd');
    expect(usage.startsWith('Usage: conntrackd ')).toBe(true);
    for (const letter of 'dCvhiexcfFRBntks') expect(usage).toContain(`  -${letter}`);
  });
});
