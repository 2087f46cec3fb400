// Requests that are ours alone: refused by name where they do not apply, and never mistaken for a
// success when a C daemon answers with silence.

import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { runRequest } from '../../../src/control/client.js';
import {
  AS_JSON,
  jsonRequest,
  Request,
  refusal,
  requestName,
} from '../../../src/control/protocol.js';
import { ControlServer } from '../../../src/control/server.js';

const FTFW = { kind: 'sync', replication: 'ftfw', expectations: false } as const;

let directory: string;
let path: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'extension-'));
  path = join(directory, 'ctl');
});
afterEach(() => rmSync(directory, { recursive: true }));

interface Ran {
  exit: number;
  complaints: string[];
  news: string[];
}

async function ask(code: number): Promise<Ran> {
  const complaints: string[] = [];
  const news: string[] = [];
  const exit = await runRequest({
    path,
    code,
    output: new PassThrough(),
    complain: (message) => complaints.push(message),
    inform: (message) => news.push(message),
  });
  return { exit, complaints, news };
}

describe('a request for JSON', () => {
  it('exists for what has an answer to put into JSON', () => {
    expect(jsonRequest(Request.STATISTICS)).toBe(AS_JSON | Request.STATISTICS);
    expect(jsonRequest(Request.DUMP_INTERNAL_XML)).toBeUndefined();
    expect(jsonRequest(Request.TERMINATE)).toBeUndefined();
  });

  it('has the name and the refusal of the plain one', () => {
    expect(requestName(AS_JSON | Request.STATISTICS)).toBe('statistics');
    expect(requestName(AS_JSON | Request.TERMINATE)).toBeUndefined();
    expect(refusal(AS_JSON | Request.STATISTICS_RESEND_QUEUE, FTFW)).toBeUndefined();
    const notrack = { ...FTFW, replication: 'notrack' } as const;
    expect(refusal(AS_JSON | Request.STATISTICS_RESEND_QUEUE, notrack)).toContain('only FTFW');
    expect(refusal(AS_JSON | Request.STATISTICS, { kind: 'stats' })).toBeUndefined();
    expect(refusal(Request.PROMOTE, { kind: 'stats' })).toBe('no promote in Stats mode');
  });
});

describe('a daemon that leaves what it does not know unanswered', () => {
  let server: Server;
  const asked: number[] = [];
  beforeEach(async () => {
    asked.length = 0;
    server = createServer((socket) => {
      socket.once('data', (bytes) => {
        asked.push(bytes.readInt32LE());
        socket.end();
      });
    });
    await new Promise<void>((resolve) => server.listen(path, resolve));
  });
  afterEach(() => new Promise((resolve) => server.close(resolve)));

  it('has not done our command: the client fails, and asks only once', async () => {
    const { exit, complaints } = await ask(Request.PROMOTE);
    expect(exit).toBe(1);
    expect(complaints).toEqual([expect.stringContaining('does not know this command')]);
    expect(asked).toHaveLength(1);
  });

  it('may well have done one of its own: the client asks in its language and succeeds', async () => {
    expect(await ask(Request.COMMIT)).toEqual({ exit: 0, complaints: [], news: [] });
    expect(asked.at(-1)).toBe(Request.COMMIT);
  });
});

it('what our daemon says of a success reaches our client', async () => {
  const server = await ControlServer.listen({ path, handler: async () => '3 flows entered' });
  try {
    expect(await ask(Request.COMMIT)).toEqual({
      exit: 0,
      complaints: [],
      news: ['3 flows entered'],
    });
  } finally {
    await server.close();
  }
});
