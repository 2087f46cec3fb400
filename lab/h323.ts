// H.323 with no more of it than the kernel's helpers read (linux/netfilter/nf_conntrack_h323.h): each
// step announces the connection of the next.
//
//   client ── RAS: gatekeeper request ─────────▶ server:1719
//   client ◀── gatekeeper confirm, its address ── server      the helper announces client ─▶ address
//   client ── Q.931: setup, H.245 address ─────▶ server:1720  … announces server ─▶ client, TCP
//   client ◀──────────── H.245 channel opens ─── server
//   client ── H.245: open logical channel ─────▶ server       … announces server ─▶ client, UDP: voice
//
// The firewalls of the lab let nobody begin a flow towards the client, so what opens was announced to
// the firewall it passed. Both ends are one process each, and speak real messages: TPKT (RFC 1006),
// Q.931, H.225.0 and H.245 in aligned PER (ITU-T X.691); the bits stand beside the bytes.
//
//   node h323.js callee OWN      answers a line on stdin: channel (opens that of the oldest call)
//   node h323.js caller CALLEE   … : call MEDIA, register, ask PORT
//
// The end of stdin ends them, so they do not outlive their lab.

import { createSocket } from 'node:dgram';
import { EventEmitter, on } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { createInterface } from 'node:readline';
import { pathToFileURL } from 'node:url';
import { type Answering, startAnswering } from './lines.js';
import type { Netns } from './namespace.js';

export const RAS_PORT = 1719;
/** Where the gatekeeper wants to be asked from then on. */
export const GATEKEEPER_PORT = 1718;
export const CALL_SIGNALLING = 1720;

/** One end; it is asked for what stands above. */
export function startH323(ns: Netns, role: 'caller' | 'callee', host: string): Promise<Answering> {
  return startAnswering(ns, 'h323.js', role, host);
}

// --------------------------------------------------------------------------------- the messages

const PROTOCOL = [0x06, 0x00, 0x08, 0x91, 0x4a, 0x00, 0x05]; // length, OID 0.0.8.2250.0.5
const CONFERENCE = Array.from({ length: 16 }, (_, i) => i);

/** ipAddress: choice 0 of TransportAddress without extensions, four octets, port. */
function transportAddress(host: string, port: number): number[] {
  return [0x00, ...host.split('.').map(Number), port >> 8, port & 255];
}

/** TPKT, RFC 1006. */
function tpkt(content: readonly number[]): Buffer {
  const length = content.length + 4;
  return Buffer.from([3, 0, length >> 8, length & 255, ...content]);
}

/** RAS GatekeeperRequest: choice 0, no optional field; an endpoint type with nothing in it. */
function gatekeeperRequest(host: string, port: number): Buffer {
  const address = transportAddress(host, port);
  return Buffer.from([0x00, 0x00, 0, 0, ...PROTOCOL, ...address, 0x00, 0x00]);
}

/** RAS GatekeeperConfirm: 0 00001 0 00, sequence number, protocol, rasAddress. */
function gatekeeperConfirm(host: string, port: number): Buffer {
  return Buffer.from([0x04, 0x00, 0, 0, ...PROTOCOL, ...transportAddress(host, port)]);
}

/** Where the H.245 address of a setup() stands. */
const SETUP_ADDRESS = 4 + 5 + 4 + 2 + PROTOCOL.length + 1;

/** Q.931 SETUP with the Setup-UUIE of H.225.0: of its optional fields only h245Address. */
function setup(host: string, port: number): Buffer {
  const uuie = [
    ...[0x05, 0x00], // ASN.1 in PER; no user data, no non-standard data, choice 0
    ...[0x40, ...PROTOCOL], // 0 1000000
    ...transportAddress(host, port),
    ...[0x00, 0x00], // sourceInfo: 0 000000 0 0; activeMC: 0
    ...CONFERENCE,
    0x00, // conferenceGoal create: 0 00; callType pointToPoint: 0 00
  ];
  // Protocol discriminator, call reference of two octets, SETUP; then the user-user element.
  return tpkt([0x08, 2, 0, 1, 0x05, 0x7e, uuie.length >> 8, uuie.length & 255, ...uuie]);
}

/** H.245 OpenLogicalChannel of null data with a mediaControlChannel. */
function openLogicalChannel(host: string, port: number): Buffer {
  const parameters = [
    ...[0x04, 0x00], // 0 0000100000: only mediaControlChannel
    1, // sessionID
    ...transportAddress(host, port), // 0 0 0 000 0: unicast, iPAddress
  ];
  return tpkt([
    0x03, // request: 0 00; openLogicalChannel: 0 0011
    ...[0x00, 0, 0], // no reverse channel; channel 1
    ...[0x06, 0x00], // 0 0; nullData: 0 001; extension 0: 1 0000000
    parameters.length,
    ...parameters,
  ]);
}

// ------------------------------------------------------------------------ inside the namespaces

function answerLines(answer: (words: string[]) => Promise<string>): void {
  const input = createInterface({ input: process.stdin });
  input.once('close', () => process.exit(0));
  input.on('line', (line) => {
    answer(line.split(' ')).then(
      (text) => console.log(text),
      (error: Error) => console.log(`error ${error.message}`),
    );
  });
  console.log('ready');
}

async function opened(socket: Socket, ms: number): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    socket.once('connect', resolve);
    socket.on('error', reject);
    setTimeout(() => reject(new Error('no answer')), ms).unref();
  });
}

function runCallee(host: string): void {
  const calls = new EventEmitter();
  const announced = on(calls, 'setup')[Symbol.asyncIterator]();
  createServer((call) => {
    call.on('error', () => {});
    call.once('data', (message) => {
      const at = SETUP_ADDRESS;
      const host = [...message.subarray(at, at + 4)].join('.');
      calls.emit('setup', { host, port: message.readUInt16BE(at + 4) });
    });
  }).listen(CALL_SIGNALLING);
  const ras = createSocket('udp4');
  ras.on('message', (_, { address, port }) => {
    ras.send(gatekeeperConfirm(host, GATEKEEPER_PORT), port, address);
  });
  ras.bind(RAS_PORT);
  answerLines(async () => {
    // Its setup may still be on its way.
    const { value } = await announced.next();
    const channel = connect(value[0] as { host: string; port: number });
    await opened(channel, 5000);
    return 'open';
  });
}

function runCaller(host: string): void {
  const ras = createSocket('udp4');
  const call = async (media: number): Promise<string> => {
    const channels = createServer((channel) => {
      channel.on('error', () => {});
      channel.write(openLogicalChannel(channel.localAddress!, media + 1));
    });
    await new Promise<void>((resolve) => channels.listen(0, '0.0.0.0', resolve));
    const { port } = channels.address() as AddressInfo;
    const socket = connect({ host, port: CALL_SIGNALLING });
    await opened(socket, 5000);
    socket.on('error', () => {});
    socket.write(setup(socket.localAddress!, port));
    return `${port}`;
  };
  answerLines(async ([verb, number]) => {
    if (verb === 'call') return call(Number(number));
    if (verb === 'ask') {
      ras.send(Buffer.from([0]), Number(number), host);
      return 'asked';
    }
    const answered = new Promise<string>((resolve) => {
      ras.once('message', (message) => resolve(`${message.readUInt16BE(message.length - 2)}`));
    });
    ras.connect(RAS_PORT, host, () => {
      const { address, port } = ras.address();
      ras.send(gatekeeperRequest(address, port));
    });
    const port = await answered;
    ras.disconnect();
    return port;
  });
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const [role, host = ''] = process.argv.slice(2);
  if (role === 'callee') runCallee(host);
  else runCaller(host);
}
