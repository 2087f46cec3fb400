// The control connection of an FTP session in active mode, with no more of the protocol than the
// kernel's helper needs (linux/netfilter/nf_conntrack_ftp.h, RFC 959 section 4.1.2):
//
//   client ── PORT h1,h2,h3,h4,p1,p2 ──▶ server:21        the helper announces server ─▶ client:p
//   client ◀──────────── data connection ──── server      let through as "related", or not at all
//
// The firewalls of the lab let nobody begin a flow towards the client, so a data connection that
// opens was announced to the firewall it passed. Both ends are one small process each:
//
//   node ftp.js client HOST PORT          says a line, then PORT with a port it listens on
//   node ftp.js open HOST PORT MS         opens a connection; prints "open" or why not
//
// The client answers to "PORT" lines on stdin with {"port":N}, to "NOOP" with "ready", once the echo is back. The end
// of stdin ends it, so it does not outlive its lab.

import { connect, createServer } from 'node:net';
import { createInterface } from 'node:readline';
import { pathToFileURL } from 'node:url';
import { startAnswering } from './lines.js';
import type { Netns } from './namespace.js';
import { compiled } from './require.js';

/** A session, as seen from the lab. */
export interface FtpSession {
  /** Has the client announce a port it listens on; the port as the server was told it. */
  announce(): Promise<Announcement>;
  /** Resolves when a line has gone to the server and back. */
  echo(): Promise<void>;
}

export interface Announcement {
  host: string;
  port: number;
}

/** Connects from `ns` to the FTP port of `host`, where something must echo lines. */
export async function startFtp(ns: Netns, host: string, port = 21): Promise<FtpSession> {
  const { ask } = await startAnswering(ns, 'ftp.js', 'client', host, `${port}`);
  return {
    announce: async () => JSON.parse(await ask('PORT')) as Announcement,
    echo: async () => {
      const line = await ask('NOOP');
      if (line !== 'ready') throw new Error(`the FTP session is out of step: ${line}`);
    },
  };
}

/** Tries to open a connection out of `ns`; `open`, or what happened instead. */
export async function openData(ns: Netns, { host, port }: Announcement, ms = 2500) {
  const words = [compiled('ftp.js'), 'open', host, `${port}`, `${ms}`];
  return (await ns.exec(process.execPath, words)).trim();
}

// ------------------------------------------------------------------------ inside the namespaces

function runClient(host: string, port: number): void {
  const data = createServer((socket) => socket.on('error', () => {}).end('data\n'));
  const control = connect({ host, port, noDelay: true });
  control.setEncoding('latin1');
  const input = createInterface({ input: process.stdin });
  input.once('close', () => process.exit(0));
  data.listen(0, '0.0.0.0', () => control.write('USER lab\r\n'));
  // The helper learns from the first line where lines begin; from then on it reads them.
  createInterface({ input: control }).on('line', (line) => {
    const told = /^PORT (\d+),(\d+),(\d+),(\d+),(\d+),(\d+)/.exec(line);
    if (told === null) console.log('ready');
    else console.log(JSON.stringify(announced(told.slice(1).map(Number))));
  });
  input.on('line', (line) => {
    if (line === 'NOOP') {
      control.write('NOOP\r\n');
      return;
    }
    const { port: own } = data.address() as { port: number };
    const words = [...control.localAddress!.split('.'), own >> 8, own & 255];
    control.write(`PORT ${words.join(',')}\r\n`);
  });
}

function announced(words: readonly number[]): Announcement {
  return { host: words.slice(0, 4).join('.'), port: words[4]! * 256 + words[5]! };
}

function runOpen(host: string, port: number, ms: number): void {
  const end = (text: string): never => {
    console.log(text);
    process.exit(0);
  };
  const socket = connect({ host, port });
  socket.once('data', () => end('open'));
  socket.once('error', (error) => end(error.message));
  setTimeout(() => end('no answer'), ms);
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const [role, host = '', port = '', ms = ''] = process.argv.slice(2);
  if (role === 'client') runClient(host, Number(port));
  else runOpen(host, Number(port), Number(ms));
}
