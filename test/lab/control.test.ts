// The control socket and the reports against the real C programs: the C client drives our server,
// our client drives the C daemon, our scanner takes command lines as the C program does, and our
// text is that of the C daemon. Needs root and the packages conntrackd and conntrack. Everything
// happens in one network namespace of our own, which is removed even on failure; UNIX sockets are
// files in a temporary directory, so our side needs not enter it.

import { type ChildProcess, execFile, execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Writable } from 'node:stream';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { isAnswered, runRequest } from '../../src/control/client.js';
import { type Command, parseArguments } from '../../src/control/commands.js';
import { encodeRequest, Request, WANTS_STATUS } from '../../src/control/protocol.js';
import { ControlServer } from '../../src/control/server.js';
import { FlowReader, flowText } from '../../src/report/flow.js';
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
  type RuntimeCounters,
  resendQueueText,
  runtimeText,
  type TableCounters,
} from '../../src/report/statistics.js';
import { flowXml } from '../../src/report/xml.js';
import { type DecodedFlow, type DecodedTuple, writeFlow } from '../flow-writer.js';

const namespace = `flowtwin-ctl-${process.pid}`;
let directory: string;
let socketPath: string;
let configFile: string;
let server: ControlServer | undefined;
let daemon: ChildProcess | undefined;

function ip(...args: string[]): void {
  execFileSync('ip', ['-n', namespace, ...args]);
}

beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'flowtwin-control-lab-'));
  socketPath = join(directory, 'ctl');
  configFile = join(directory, 'conf');
  execFileSync('ip', ['netns', 'add', namespace]);
  ip('link', 'set', 'lo', 'up');
  ip('link', 'add', 'sync', 'type', 'veth', 'peer', 'name', 'far');
  ip('addr', 'add', '10.9.9.1/24', 'dev', 'sync');
  ip('link', 'set', 'sync', 'up');
  ip('link', 'set', 'far', 'up');
  writeConfig('Mode FTFW { }', 'UDP');
});

afterEach(async () => {
  await server?.close();
  server = undefined;
  await stopDaemon();
  rmSync(socketPath, { force: true });
  rmSync(join(directory, 'lock'), { force: true });
});

afterAll(() => {
  execFileSync('ip', ['netns', 'del', namespace]);
  rmSync(directory, { recursive: true, force: true });
});

/** Writes the configuration of a C daemon on one link, or of Stats mode without one. */
function writeConfig(mode: string, link?: 'UDP' | 'TCP' | 'Multicast'): void {
  const addresses =
    link === 'Multicast'
      ? 'IPv4_address 225.0.0.50\n Group 3780\n IPv4_interface 10.9.9.1'
      : 'IPv4_address 10.9.9.1\n IPv4_Destination_Address 10.9.9.2\n Port 3780';
  const sync = `Sync {\n ${mode}\n ${link} {\n ${addresses}\n Interface sync\n }
 Options { ExpectationSync on }\n}\n`;
  writeFileSync(
    configFile,
    `General {\n HashSize 8192\n HashLimit 65536\n LockFile ${join(directory, 'lock')}
 UNIX { Path ${socketPath} }\n}\n${link === undefined ? 'Stats { }\n' : sync}`,
  );
}

interface Finished {
  stdout: string;
  stderr: string;
  exit: number;
}

function run(program: string, ...args: string[]): Promise<Finished> {
  const command = ['netns', 'exec', namespace, program, ...args];
  const options = { timeout: 20_000, maxBuffer: 1 << 28 };
  return new Promise((resolve) => {
    execFile('ip', command, options, (error, stdout, stderr) => {
      const exit = error === null ? 0 : typeof error.code === 'number' ? error.code : -1;
      resolve({ stdout, stderr, exit });
    });
  });
}

function cClient(...args: string[]): Promise<Finished> {
  return run('conntrackd', '-C', configFile, ...args);
}

async function startDaemon(): Promise<void> {
  const log = join(directory, 'log');
  rmSync(log, { force: true }); // the one of an earlier daemon looks ready
  const command = `exec ip netns exec ${namespace} conntrackd -C ${configFile} >${log} 2>&1`;
  daemon = spawn('sh', ['-c', command], { stdio: 'ignore' });
  await until(() => existsSync(log) && readFileSync(log, 'utf8').includes('-- starting in'));
}

async function stopDaemon(): Promise<void> {
  const child = daemon;
  daemon = undefined;
  if (child === undefined || child.exitCode !== null) return;
  const gone = new Promise((resolve) => child.once('exit', resolve));
  child.kill('SIGTERM');
  await gone;
}

async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = Date.now() + 10_000;
  while (!(await condition())) {
    if (Date.now() > deadline) throw new Error('waited in vain');
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** Sends one request with our client. */
async function ask(code: number): Promise<Finished> {
  const chunks: Buffer[] = [];
  const output = new Writable({
    write(chunk: Buffer, _encoding, done) {
      chunks.push(chunk);
      done();
    },
  });
  let stderr = '';
  const exit = await runRequest({
    path: socketPath,
    code,
    output,
    complain: (message) => {
      stderr += message;
    },
  });
  return { exit, stdout: Buffer.concat(chunks).toString(), stderr };
}

async function listen(answer: (code: number) => string | string[]): Promise<number[]> {
  const codes: number[] = [];
  server = await ControlServer.listen({
    path: socketPath,
    handler: async (code, reply) => {
      codes.push(code);
      for (const chunk of [answer(code)].flat()) await reply.write(chunk);
    },
  });
  return codes;
}

describe('the C client drives our server', () => {
  it.each(Object.entries({ '-s': 21, '-i': 16, '-c': 46, '-B': 22, '-s network': 28 }))(
    '%s',
    async (line, code) => {
      const codes = await listen((request) => `reply to ${request}\n`);
      const { stdout, exit } = await cClient(...line.split(' '));
      expect(codes).toEqual([code]);
      expect(stdout).toBe(`reply to ${code}\n`);
      expect(exit).toBe(0);
    },
  );

  it('a long dump arrives complete', async () => {
    const lines = Array.from({ length: 40_000 }, (_, i) => `flow number ${i} ${'.'.repeat(99)}\n`);
    await listen(() => lines);
    const { stdout } = await cClient('-i');
    expect(stdout === lines.join('')).toBe(true);
  });

  it('fails without a server', async () => {
    const { exit, stderr } = await cClient('-s');
    expect(exit).toBe(1);
    expect(stderr).toContain("can't connect: is conntrackd running? appropriate permissions?");
  });
});

describe('our scanner takes command lines as the C program does', () => {
  const client = '-i -e -c -f -F -R -B -n -t -k -s'.split(' ');
  const parameters = [
    'ct',
    'exp',
    'internal',
    'ext',
    'n',
    'ca',
    'r',
    'rs',
    'm',
    'l',
    'p',
    'q',
    'zz',
    '',
  ];
  const CONFIG = 'CONFIG'; // stands for the file, which has no name yet
  const lines: string[][] = [
    ...client.map((option) => [option]),
    ...client.flatMap((option) => parameters.map((word) => [option, word])),
    ...client.flatMap((option) => [
      [option, '-x'],
      ['-x', option],
      ['-d', option],
      [option, '-d'],
    ]),
    ...['ct', 'exp'].flatMap((word) => ['-i', '-e', '-c'].map((option) => [option, word, '-x'])),
    ['-i', '-x', '-x'],
    ['-i', 'ct', '-x', 'ct'],
    ['-i', '-s', '-x'],
    ['-i', '-e', '-x'],
    ['-s', '-s', 'network'],
    ['-e', '-i', 'ext'],
    ['-s', '-c', 'xC', CONFIG],
    ['-C', CONFIG, '-s', '-C', CONFIG],
    ['-iZZ', 'expect'],
    ['xi', 'ct'],
    ['-s', '-'],
    ['-s', '--'],
    ['-s', '-z'],
    ['-s', '-ox'],
    ['-s', 'foo'],
    ['-i', 'foo'],
    ['-s', '-v'],
    ['-s', '-h'],
    ['-z', '-v'],
    ['-d', '-s', '-v'],
  ];

  /** What the C program did, in the words of our scanner. */
  function did(finished: Finished, codes: number[]): string {
    const error = /\[ERROR\] (.*)/.exec(finished.stderr)?.[1];
    if (codes.length > 0) return `request ${codes.join(' ')}`;
    if (error !== undefined) return `error ${error}`;
    return finished.stdout.includes('Usage:') ? 'help' : 'version';
  }

  function ours(command: Command): string {
    if (command.kind === 'client') return `request ${command.requests.join(' ')}`;
    if (command.kind === 'usage-error') return `error ${command.message}`;
    return command.kind;
  }

  it(`${lines.length} of them`, async () => {
    const codes = await listen(() => '');
    const differences: unknown[] = [];
    for (const words of lines) {
      const line = words.map((word) => (word === CONFIG ? configFile : word));
      const command = parseArguments(['-C', configFile, ...line]);
      // A daemon is not to be started here, neither by our opinion nor by that of the C program.
      expect(command.kind).not.toBe('daemon');
      codes.length = 0;
      const finished = await cClient(...line);
      const theirs = did(finished, codes);
      if (theirs !== ours(command)) differences.push({ line, theirs, ours: ours(command) });
      if (command.kind === 'usage-error') {
        const usage = finished.stdout.includes('Usage:');
        if (usage !== command.usage) differences.push({ line, usage });
        // Unknown options exit with 0 up to 1.4.8, the one deviation: we follow 1.4.9.
        if (!command.message.startsWith('Unknown option') && finished.exit !== command.exit) {
          differences.push({ line, exit: finished.exit });
        }
      }
    }
    expect(differences).toEqual([]);
  });
});

describe('our client drives the C daemon', () => {
  it('reads statistics, commits and terminates', async () => {
    await startDaemon();
    expect((await ask(Request.STATISTICS)).stdout).toMatch(/^cache internal:\n/);
    expect(await ask(Request.COMMIT)).toEqual({ exit: 0, stdout: '', stderr: '' });
    expect(existsSync(join(directory, 'lock'))).toBe(true);
    expect((await ask(Request.TERMINATE)).exit).toBe(0);
    expect(existsSync(join(directory, 'lock'))).toBe(false);
    expect(await isAnswered(socketPath)).toBe(false);
    const log = readFileSync(join(directory, 'log'), 'utf8');
    expect(log.match(/committing all external caches/g)).toHaveLength(1);
  });

  it('the flag of our client leaves no trace in it', async () => {
    await startDaemon();
    const log = readFileSync(join(directory, 'log'), 'utf8');
    for (const code of Object.values(Request)) {
      const answer = await new Promise<string>((resolve, reject) => {
        const socket = connect({ path: socketPath });
        let text = '';
        socket.on('data', (chunk) => {
          text += chunk;
        });
        socket.once('end', () => resolve(text));
        socket.once('error', reject);
        socket.write(encodeRequest(code + WANTS_STATUS));
      });
      expect(answer).toBe('');
    }
    expect(readFileSync(join(directory, 'log'), 'utf8')).toBe(log);
    const { stdout } = await ask(Request.STATISTICS_RUNTIME);
    expect(stdout).toMatch(/local read failed:\t\t +0\n\tlocal unknown request:\t\t +0\n/);
  });
});

/** Replaces every number, with the blanks that align it, by as many marks. */
function masked(text: string): string {
  return text.replace(/ *\d+/g, (number) => '#'.repeat(number.length));
}

function zeroCache(name: string): CacheCounters {
  return {
    kind: 'cache',
    name,
    active: 0,
    total: 0,
    objects: 0,
    created: 0,
    createFailed: 0,
    noMemory: 0,
    noSpace: 0,
    updated: 0,
    updateFailed: 0,
    updateNotFound: 0,
    destroyed: 0,
    destroyFailed: 0,
    destroyNotFound: 0,
  };
}

function zeroLink(kind: LinkCounters['kind']): LinkCounters {
  return {
    kind,
    device: 'sync',
    status: 'RUNNING',
    role: 'ACTIVE',
    bytesSent: 0,
    bytesReceived: 0,
    packetsSent: 0,
    packetsReceived: 0,
    sendErrors: 0,
    receiveErrors: 0,
  };
}

const zeroNetwork: NetworkCounters = {
  malformed: 0,
  wrongVersion: 0,
  malformedHeader: 0,
  malformedPayload: 0,
  badType: 0,
  truncated: 0,
  badSize: 0,
  sendMalformed: 0,
  lost: 0,
  before: 0,
};

const zeroRuntime: RuntimeCounters = {
  uptime: 0,
  eventsReceived: 0,
  eventsFiltered: 0,
  eventsUnknown: 0,
  catchFailed: 0,
  eventsCut: 0,
  dumpUnknown: 0,
  overruns: 0,
  flushes: 0,
  resyncs: 0,
  bufferSize: 0,
  childFailed: 0,
  childSegfault: 0,
  childTerminated: 0,
  selectFailed: 0,
  waitFailed: 0,
  localReadFailed: 0,
  localUnknown: 0,
};

const disabled: TableCounters[] = [
  { kind: 'bypass', created: 0, updated: 0, destroyed: 0, dropped: 0 },
  {
    kind: 'inject',
    created: 0,
    createFailed: 0,
    updated: 0,
    updateFailed: 0,
    destroyed: 0,
    destroyFailed: 0,
  },
];

describe('our statistics are those of the C daemon, numbers apart', () => {
  const both = [zeroCache('internal'), zeroCache('external')];
  const queues = ['txqueue', 'errorq', 'rsqueue'].map((name) => {
    return { name, elements: 0, maximum: 0, noSpace: 0 };
  });
  it.each([
    { mode: 'Mode FTFW { }', link: 'UDP', kind: 'udp', tables: both, queues: 3 },
    { mode: 'Mode ALARM { }', link: 'Multicast', kind: 'multicast', tables: both, queues: 2 },
    {
      mode: 'Mode NOTRACK {\n DisableInternalCache on\n DisableExternalCache on\n }',
      link: 'TCP',
      kind: 'tcp',
      tables: disabled,
      queues: 2,
    },
  ] as const)('$mode over $link', async ({ mode, link, kind, tables, queues: count }) => {
    writeConfig(mode, link);
    await startDaemon();
    const counters = zeroLink(kind);
    const general = generalText({
      tables,
      traffic: { bytes: 0, packets: 0 },
      link: counters,
      tracking: zeroNetwork,
    });
    const views: [string[], string][] = [
      [['-s'], general],
      [['-s', 'ct'], general],
      [['-s', 'expect'], general],
      [['-s', 'network'], networkText(zeroNetwork, counters)],
      [['-s', 'cache'], cacheText(tables)],
      [['-s', 'runtime'], runtimeText(zeroRuntime)],
      [['-s', 'link'], linksText([counters])],
      [['-s', 'rsqueue'], mode.includes('FTFW') ? resendQueueText([]) : ''],
      [['-s', 'process'], processText([])],
      [['-s', 'queue'], queueText(0, queues.slice(0, count))],
    ];
    for (const [args, text] of views) {
      const { stdout } = await cClient(...args);
      expect(masked(stdout), args.join(' ')).toBe(masked(text));
    }
  });

  it('Stats mode', async () => {
    writeConfig('');
    await startDaemon();
    const tables = [zeroCache('stats')];
    const general = generalText({ tables, traffic: { bytes: 0, packets: 0 } });
    expect(masked((await cClient('-s')).stdout)).toBe(masked(general));
    expect(masked((await cClient('-s', 'cache')).stdout)).toBe(masked(cacheText(tables)));
    expect((await cClient('-s', 'link')).stdout).toBe('');
  });
});

describe('our flow lines are those of the C daemon', () => {
  const v4 = { src: '1.1.1.1', dst: '2.2.2.2' };
  const v6 = { src: 'fd01::2', dst: '2001:db8:0:0:1::5' };
  const ports = { sport: 10, dport: 20 };
  const flows: { name: string; args: string; flow: DecodedFlow }[] = [
    {
      name: 'tcp with reply and mark',
      args: '-p tcp --sport 10 --dport 20 --state ESTABLISHED -u ASSURED,SEEN_REPLY -m 42',
      flow: { ...mirrored({ ...v4, proto: 6, ...ports }), status: 0xe, mark: 42, ...tcp(3) },
    },
    {
      name: 'udp in a zone',
      args: '-p udp --sport 10 --dport 20 -w 7 -m 1',
      flow: { ...mirrored({ ...v4, proto: 17, ...ports }), status: 8, mark: 1, zone: 7 },
    },
    {
      name: 'ping',
      args: '-p icmp --icmp-type 8 --icmp-code 0 --icmp-id 77 -m 1',
      flow: { ...ping({ ...v4, proto: 1 }, 8, 0), status: 8, mark: 1 },
    },
    {
      name: 'gre',
      args: '-p gre --srckey 16 --dstkey 17 -m 1',
      flow: { ...mirrored({ ...v4, proto: 47, sport: 16, dport: 17 }), status: 8, mark: 1 },
    },
    {
      name: 'unknown protocol',
      args: '-p 89 -m 1',
      flow: { ...mirrored({ ...v4, proto: 89 }), status: 8, mark: 1 },
    },
    {
      name: 'tcp over IPv6',
      args: '-p tcp --sport 10 --dport 20 --state SYN_SENT -m 1',
      flow: { ...mirrored({ ...v6, proto: 6, ...ports }), status: 8, mark: 1, ...tcp(1) },
    },
  ];

  function mirrored(orig: DecodedTuple): DecodedFlow {
    const { src, dst, proto, sport, dport } = orig;
    const turned = sport === undefined ? {} : { sport: dport!, dport: sport };
    return { orig, reply: { src: dst!, dst: src!, proto: proto!, ...turned } };
  }

  function ping(tuple: DecodedTuple, request: number, answer: number): DecodedFlow {
    const { orig, reply } = mirrored(tuple);
    const icmp = { icmpCode: 0, icmpId: 77 };
    return {
      orig: { ...orig, ...icmp, icmpType: request },
      reply: { ...reply, ...icmp, icmpType: answer },
    };
  }

  function tcp(state: number): DecodedFlow {
    return { protoinfo: { tcp: { state } } };
  }

  it.each(flows)('$name', async ({ args, flow }) => {
    writeConfig('Mode FTFW { }', 'UDP');
    await run('conntrack', '-F');
    await startDaemon();
    const { src, dst } = flow.orig!;
    const created = await run(
      'conntrack',
      '-I',
      '-s',
      src!,
      '-d',
      dst!,
      '-t',
      '99',
      ...args.split(' '),
    );
    expect(created.stderr).toContain('1 flow entries have been created');
    await until(async () => (await ask(Request.DUMP_INTERNAL)).stdout.includes(`src=${src}`));
    const text = (await ask(Request.DUMP_INTERNAL)).stdout;
    const xml = (await ask(Request.DUMP_INTERNAL_XML)).stdout;
    const id = Number(/<id>(\d+)<\/id>/.exec(xml)?.[1]);
    const active = Number(/\[active since (\d+)s\]/.exec(text)?.[1]);
    expect(active).toBeLessThan(10);

    const view = new DataView(new ArrayBuffer(1024));
    writeFlow(view, 64, { ...flow, timeout: 99, id });
    const reader = new FlowReader(view, 64);
    expect(`${flowText(reader, { timeout: false, active })}\n`).toBe(text);
    expect(`${flowXml(reader, { timeout: false })}\n`).toBe(xml);
  });
});
