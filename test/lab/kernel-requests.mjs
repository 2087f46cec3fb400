// Talks to the kernel's connection tracking in the network namespace that it is started in: reads a
// list of steps from standard input as JSON, writes a list of results to standard output. Plain
// JavaScript on one blocking netlink socket, with nothing of the project in it: what it sends and
// returns are bytes.
//
//   { "request": HEX }  sends one message, waits for its answer  →  errno, 0 for success
//   { "dump": TYPE }    asks for everything (nlmsg_type TYPE)    →  the messages in hex
//
// Source: linux/netlink.h.

import { readFileSync } from 'node:fs';
import koffi from 'koffi';

const libc = koffi.load('libc.so.6');
const socket = libc.func('int socket(int domain, int type, int protocol)');
const setsockopt = libc.func(
  'int setsockopt(int fd, int level, int name, void *value, uint32 len)',
);
const send = libc.func('int64 send(int fd, void *buf, size_t len, int flags)');
const recv = libc.func('int64 recv(int fd, void *buf, size_t len, int flags)');

const NLMSG_ERROR = 2;
const NLMSG_DONE = 3;
const NLM_F_REQUEST_DUMP = 0x301;

function check(result, call) {
  if (Number(result) < 0) throw new Error(`${call}: errno ${koffi.errno()}`);
  return Number(result);
}

const fd = check(socket(16, 3, 12), 'socket(AF_NETLINK, SOCK_RAW, NETLINK_NETFILTER)');
const wait = Buffer.alloc(16);
wait.writeBigInt64LE(5n); // struct timeval: give up after 5 s
check(setsockopt(fd, 1, 20, wait, wait.length), 'setsockopt(SO_RCVTIMEO)');
const buffer = Buffer.alloc(65536);

/** The messages of the next datagram. */
function receive() {
  const end = check(recv(fd, buffer, buffer.length, 0), 'recv');
  const messages = [];
  for (let at = 0; at + 16 <= end; ) {
    const length = buffer.readUInt32LE(at);
    messages.push(Buffer.from(buffer.subarray(at, at + length)));
    at += (length + 3) & ~3;
  }
  return messages;
}

function request(message) {
  check(send(fd, message, message.length, 0), 'send');
  const seq = message.readUInt32LE(8);
  for (;;) {
    for (const answer of receive()) {
      if (answer.readUInt16LE(4) === NLMSG_ERROR && answer.readUInt32LE(8) === seq) {
        return -answer.readInt32LE(16);
      }
    }
  }
}

function dump(type) {
  const ask = Buffer.alloc(20);
  ask.writeUInt32LE(20, 0);
  ask.writeUInt16LE(type, 4);
  ask.writeUInt16LE(NLM_F_REQUEST_DUMP, 6);
  check(send(fd, ask, ask.length, 0), 'send');
  const entries = [];
  for (;;) {
    for (const answer of receive()) {
      const kind = answer.readUInt16LE(4);
      if (kind === NLMSG_DONE) return entries;
      if (kind === NLMSG_ERROR) throw new Error(`dump: errno ${-answer.readInt32LE(16)}`);
      entries.push(answer.toString('hex'));
    }
  }
}

const steps = JSON.parse(readFileSync(0, 'utf8'));
const results = steps.map((step) =>
  step.request === undefined ? dump(step.dump) : request(Buffer.from(step.request, 'hex')),
);
process.stdout.write(JSON.stringify(results));
