// The control socket as operators and their scripts meet it: our server with our client, and with
// raw connections that behave as the C client does, or badly.

import { existsSync, lstatSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Writable } from 'node:stream';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { CANNOT_CONNECT, isAnswered, runRequest } from '../../../src/control/client.js';
import {
  CommandError,
  decodeRequest,
  encodeRequest,
  Request,
  WANTS_STATUS,
} from '../../../src/control/protocol.js';
import { type ControlOptions, ControlServer } from '../../../src/control/server.js';

let directory: string;
let path: string;
const cleanup: (() => unknown)[] = [];

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'flowtwin-control-'));
  path = join(directory, 'ctl');
});

afterEach(async () => {
  for (const undo of cleanup.splice(0).reverse()) await undo();
  rmSync(directory, { recursive: true, force: true });
});

async function serve(
  handler: ControlOptions['handler'],
  options: Partial<ControlOptions> = {},
): Promise<ControlServer> {
  const server = await ControlServer.listen({ path, handler, ...options });
  cleanup.push(() => server.close());
  return server;
}

/** An output that keeps everything, and takes `delay` ms a chunk. */
function collector(delay = 0): Writable & { text: () => string } {
  const chunks: Buffer[] = [];
  const sink = new Writable({
    highWaterMark: 1024,
    write(chunk: Buffer, _encoding, done) {
      chunks.push(Buffer.from(chunk));
      if (delay === 0) done();
      else setTimeout(done, delay);
    },
  });
  return Object.assign(sink, { text: () => Buffer.concat(chunks).toString() });
}

async function ask(code: number): Promise<{ exit: number; text: string; complaints: string[] }> {
  const output = collector();
  const complaints: string[] = [];
  const exit = await runRequest({ path, code, output, complain: (m) => complaints.push(m) });
  return { exit, text: output.text(), complaints };
}

/** Sends raw bytes as the C client does (no half-close) and resolves with all that comes back. */
function raw(bytes: Uint8Array | undefined, end = false): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect({ path });
    let text = '';
    socket.setEncoding('latin1');
    socket.on('data', (chunk) => {
      text += chunk;
    });
    socket.once('end', () => resolve(text));
    socket.once('error', reject);
    if (bytes !== undefined) socket.write(bytes);
    if (end) socket.end();
  });
}

function open(): Promise<Socket> {
  return new Promise((resolve) => {
    const socket = connect({ path }, () => resolve(socket));
    cleanup.push(() => socket.destroy());
  });
}

describe('the socket file', () => {
  it('is for its owner alone and goes away with the server', async () => {
    const before = process.umask();
    const server = await serve(async () => undefined);
    expect(lstatSync(path).mode & 0o7777).toBe(0o600);
    expect(process.umask()).toBe(before);
    await server.close();
    expect(existsSync(path)).toBe(false);
  });

  it('left by a dead daemon is replaced', async () => {
    // Binding and closing only the descriptor leaves the file, as a killed daemon does.
    const stale = join(directory, 'stale');
    const dead = createServer();
    await new Promise<void>((resolve) => dead.listen(stale, resolve));
    const { linkSync } = await import('node:fs');
    linkSync(stale, path);
    await new Promise((resolve) => dead.close(resolve));
    expect(existsSync(path)).toBe(true);
    await serve(async (_code, reply) => reply.write('alive'));
    expect((await ask(Request.STATISTICS)).text).toBe('alive');
  });

  it('of a living daemon is left alone', async () => {
    await serve(async (_code, reply) => reply.write('first'));
    const second = ControlServer.listen({ path, handler: async () => undefined });
    await expect(second).rejects.toMatchObject({ code: 'ERR_CONTROL_IN_USE' });
    expect((await ask(Request.STATISTICS)).text).toBe('first');
  });

  it('is never put in the place of another file', async () => {
    writeFileSync(path, 'precious');
    const server = ControlServer.listen({ path, handler: async () => undefined });
    await expect(server).rejects.toMatchObject({ code: 'ERR_CONTROL_NOT_A_SOCKET' });
    expect(lstatSync(path).size).toBe(8);
  });

  it('in a directory that is missing is an error of the start', async () => {
    path = join(directory, 'missing', 'ctl');
    const server = ControlServer.listen({ path, handler: async () => undefined });
    await expect(server).rejects.toThrow(/ENOENT|EACCES/);
  });
});

describe('a C client', () => {
  it('gets the bare text and the end of file', async () => {
    const codes: number[] = [];
    await serve(async (code, reply) => {
      codes.push(code);
      await reply.write('one\n');
      await reply.write(Buffer.from('two\n'));
    });
    expect(await raw(encodeRequest(Request.STATISTICS))).toBe('one\ntwo\n');
    expect(codes).toEqual([21]);
  });

  it('learns nothing of a failure, as ever', async () => {
    const server = await serve(async (_code, reply) => {
      await reply.write('partial\n');
      throw new CommandError('refused');
    });
    expect(await raw(encodeRequest(Request.COMMIT))).toBe('partial\n');
    expect(server.counters.failed).toBe(1);
  });

  it('may send its request byte by byte, and more than was asked', async () => {
    await serve(async (code, reply) => reply.write(`${code}`));
    const socket = await open();
    let text = '';
    socket.on('data', (chunk) => {
      text += chunk;
    });
    for (const byte of [21, 0, 0]) {
      socket.write(Uint8Array.from([byte]));
      await new Promise((resolve) => setTimeout(resolve, 5));
      expect(text).toBe('');
    }
    socket.write(Uint8Array.from([0, 9, 9, 9]));
    await vi.waitFor(() => expect(text).toBe('21'));
  });

  it('that closes its writing side at once still gets its reply', async () => {
    await serve(async (_code, reply) => reply.write('late\n'));
    expect(await raw(encodeRequest(Request.STATISTICS), true)).toBe('late\n');
  });
});

describe('bad clients', () => {
  it('an unknown code is closed and counted', async () => {
    const handler = vi.fn(async () => undefined);
    const server = await serve(handler);
    expect(await raw(encodeRequest(27))).toBe('');
    expect(await raw(encodeRequest(-1))).toBe('');
    expect(server.counters).toMatchObject({ unknown: 2, requests: 0 });
    expect(handler).not.toHaveBeenCalled();
  });

  it('a silent client blocks nobody and is dropped', async () => {
    const server = await serve(async (_code, reply) => reply.write('ok'), { requestTimeout: 300 });
    const started = Date.now();
    const silent = raw(undefined);
    const short = raw(Uint8Array.from([21, 0]));
    expect((await ask(Request.STATISTICS)).text).toBe('ok');
    expect(Date.now() - started).toBeLessThan(250);
    expect(await silent).toBe('');
    expect(await short).toBe('');
    expect(Date.now() - started).toBeGreaterThanOrEqual(290);
    expect(server.counters.readFailed).toBe(2);
  });

  it('a client that closes without a request is counted', async () => {
    const server = await serve(async () => undefined);
    (await open()).destroy();
    await vi.waitFor(() => expect(server.counters.readFailed).toBe(1));
  });

  it('a client that leaves in the middle of a dump aborts the handler', async () => {
    let ended: unknown;
    const server = await serve(async (_code, reply) => {
      try {
        for (;;) await reply.write('x'.repeat(65_536));
      } catch (error) {
        ended = error;
        expect(reply.signal.aborted).toBe(true);
        throw error;
      }
    });
    const socket = await open();
    socket.write(encodeRequest(Request.DUMP_INTERNAL));
    await new Promise((resolve) => socket.once('data', resolve));
    socket.destroy();
    await vi.waitFor(() => expect(server.counters.aborted).toBe(1));
    expect(ended).toMatchObject({ code: 'ERR_CLIENT_GONE' });
    expect(server.counters.failed).toBe(0);
  });

  it('a slow reader holds up its own reply only, and memory stays bounded', async () => {
    let written = 0;
    await serve(async (code, reply) => {
      if (code !== Request.DUMP_INTERNAL) return reply.write('quick');
      for (; written < 64; written++) await reply.write('y'.repeat(65_536));
    });
    const socket = await open();
    socket.pause();
    socket.write(encodeRequest(Request.DUMP_INTERNAL));
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect(written).toBeGreaterThan(0);
    expect(written).toBeLessThan(16);
    expect((await ask(Request.STATISTICS)).text).toBe('quick');
    let received = 0;
    socket.on('data', (chunk) => {
      received += chunk.length;
    });
    socket.resume();
    await vi.waitFor(() => expect(received).toBe(64 * 65_536));
  });

  it('more commands than allowed are turned away, visibly to our client', async () => {
    let release: () => void = () => undefined;
    const held = new Promise<void>((resolve) => {
      release = resolve;
    });
    await serve(() => held, { maxClients: 1 });
    const first = ask(Request.COMMIT);
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(await ask(Request.COMMIT)).toMatchObject({
      exit: 1,
      complaints: ['busy with 1 other clients'],
    });
    release();
    expect((await first).exit).toBe(0);
  });
});

describe('our client', () => {
  it('fails when the command failed, after all of its text', async () => {
    await serve(async (_code, reply) => {
      await reply.write('Committed 3 new entries\n');
      throw new CommandError('1 entries can not be committed', 4);
    });
    expect(await ask(Request.COMMIT)).toEqual({
      exit: 4,
      text: 'Committed 3 new entries\n',
      complaints: ['1 entries can not be committed'],
    });
  });

  it('succeeds silently when the command has no output', async () => {
    await serve(async () => undefined);
    expect(await ask(Request.COMMIT)).toEqual({ exit: 0, text: '', complaints: [] });
  });

  it('fails when a handler has a defect, which the daemon logs', async () => {
    const onError = vi.fn();
    await serve(
      async () => {
        throw new TypeError('oops');
      },
      { onError },
    );
    expect(await ask(Request.COMMIT)).toMatchObject({ exit: 1, complaints: ['oops'] });
    expect(onError).toHaveBeenCalledWith(expect.any(TypeError), Request.COMMIT);
  });

  it('learns that the daemon does not know a request', async () => {
    await serve(async () => undefined);
    expect(await ask(999)).toMatchObject({ exit: 1, complaints: ['unknown request 999'] });
  });

  it('cannot connect without a daemon', async () => {
    expect(await ask(Request.STATISTICS)).toEqual({
      exit: 1,
      text: '',
      complaints: [CANNOT_CONNECT],
    });
    expect(await isAnswered(path)).toBe(false);
  });

  it('copies a long reply as bytes at the pace of its output', async () => {
    const line = `${'ä'.repeat(500)}\n`;
    await serve(async (_code, reply) => {
      for (let i = 0; i < 300; i++) await reply.write(line);
    });
    const output = collector(1);
    const exit = await runRequest({
      path,
      code: Request.DUMP_INTERNAL,
      output,
      complain: (m) => expect.unreachable(m),
    });
    await new Promise((resolve) => output.end(resolve));
    expect(exit).toBe(0);
    expect(output.text()).toBe(line.repeat(300));
  });

  it('stops when nobody reads its output', async () => {
    await serve(async (_code, reply) => {
      for (;;) await reply.write('z'.repeat(65_536));
    });
    const output = new Writable({
      write(_chunk, _encoding, done) {
        done(Object.assign(new Error('EPIPE'), { code: 'EPIPE' }));
      },
    });
    const code = Request.DUMP_INTERNAL;
    expect(await runRequest({ path, code, output, complain: () => undefined })).toBe(0);
  });
});

describe('our client with a foreign daemon', () => {
  /** A server that answers like the C daemon, or breaks off. Keeps the codes it was sent. */
  async function foreign(answer: (code: number, socket: Socket) => void): Promise<number[]> {
    const codes: number[] = [];
    const server: Server = createServer((socket) => {
      socket.once('data', (bytes) => {
        const code = decodeRequest(bytes);
        codes.push(code);
        answer(code, socket);
      });
      socket.on('error', () => undefined);
    });
    await new Promise<void>((resolve) => server.listen(path, resolve));
    cleanup.push(() => new Promise((resolve) => server.close(resolve)));
    return codes;
  }

  it('asks a C daemon again in its language', async () => {
    const codes = await foreign((code, socket) => socket.end(code === 21 ? 'stats\n' : ''));
    expect(await ask(21)).toEqual({ exit: 0, text: 'stats\n', complaints: [] });
    expect(codes).toEqual([WANTS_STATUS + 21, 21]);
  });

  it('never repeats a command that a daemon began and did not finish', async () => {
    const codes = await foreign((_code, socket) => socket.end('\0half'));
    expect(await ask(Request.COMMIT)).toMatchObject({ exit: 1, text: 'half' });
    expect(codes).toHaveLength(1);
  });

  it('takes the end of the daemon for the success of terminate', async () => {
    await foreign((_code, socket) => socket.end('\0'));
    expect(await ask(Request.TERMINATE)).toEqual({ exit: 0, text: '', complaints: [] });
  });

  it('reads marks and text however the stream is cut', async () => {
    const reply = Buffer.from('\0text\n\x002 because\n');
    for (let cut = 1; cut < reply.length; cut++) {
      path = join(directory, `cut${cut}`);
      await foreign((_code, socket) => {
        socket.write(reply.subarray(0, cut));
        setTimeout(() => socket.end(reply.subarray(cut)), 2);
      });
      expect(await ask(21)).toEqual({ exit: 2, text: 'text\n', complaints: ['because'] });
    }
  });
});

describe('shutdown', () => {
  it('drops clients, aborts handlers and accepts nobody', async () => {
    let signal: AbortSignal | undefined;
    const server = await serve(async (_code, reply) => {
      signal = reply.signal;
      await new Promise((resolve) => reply.signal.addEventListener('abort', resolve));
    });
    const waiting = raw(encodeRequest(Request.COMMIT));
    await vi.waitFor(() => expect(signal).toBeDefined());
    await server.close();
    expect(await waiting).toBe('');
    expect(signal?.aborted).toBe(true);
    expect((await ask(Request.STATISTICS)).complaints).toEqual([CANNOT_CONNECT]);
  });

  it('the client of terminate waits for the end of the process, not of the server', async () => {
    const server = await serve(async () => undefined);
    const socket = await open();
    let ended = false;
    socket.resume();
    socket.once('end', () => {
      ended = true;
    });
    socket.write(encodeRequest(Request.TERMINATE));
    await vi.waitFor(() => expect(server.counters.requests).toBe(1));
    await server.close();
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(ended).toBe(false);
    expect(existsSync(path)).toBe(false);
  });

  it('a terminate that is refused ends like any other command', async () => {
    await serve(async () => {
      throw new CommandError('not now');
    });
    expect(await ask(Request.TERMINATE)).toMatchObject({ exit: 1, complaints: ['not now'] });
  });
});
