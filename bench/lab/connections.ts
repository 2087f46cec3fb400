// Short-lived TCP connections, from SYN to the last FIN, through the active firewall: what forwarded
// traffic looks like to a daemon, with the kernel's own states and timing instead of injected flows.
// Two processes of this file, one in the client's namespace and one in the server's.
//
//   client: connect, close, next          server: accept, close, next
//
// Each connection makes the kernel tell NEW, ESTABLISHED and the states of closing: six to seven
// events. Calls block, one connection at a time, in a process of its own. Source: tcp(7).

import koffi from 'koffi';
import { socketAddress } from '../../src/channel/address.js';
import {
  AF_INET,
  bind,
  close,
  connect,
  errno,
  SO_REUSEADDR,
  SOCK_STREAM,
  SOL_SOCKET,
  SystemCallError,
  setOption,
  socket,
} from '../../src/kernel/syscalls.js';
import { answerCommands } from '../answer.js';

const libc = koffi.load(null);
const listen = libc.func('int listen(int fd, int backlog)');
const accept = libc.func('int accept(int fd, uintptr_t address, uintptr_t length)');

const ANY = new Uint8Array(4);
const PORT = 6000;

function serve(): never {
  const fd = socket(AF_INET, SOCK_STREAM, 0);
  setOption(fd, SOL_SOCKET, SO_REUSEADDR, 1);
  bind(fd, socketAddress(4, ANY, PORT));
  if (listen(fd, 1024) < 0) throw new SystemCallError('listen', errno());
  process.stdout.write('{"ready":true}\n');
  for (;;) {
    const peer = accept(fd, 0, 0);
    if (peer < 0) throw new SystemCallError('accept', errno());
    close(peer);
  }
}

interface Order {
  /** The server's addresses, four bytes each, taken in turn: closed connections keep their ports. */
  hosts: number[][];
  count: number;
  /** Connections a second. */
  rate: number;
}

function open({ hosts, count, rate }: Order): { seconds: number; rate: number } {
  const addresses = hosts.map((host) => socketAddress(4, Uint8Array.from(host), PORT));
  const start = performance.now();
  for (let i = 0; i < count; i++) {
    while (performance.now() - start < (i / rate) * 1000);
    const fd = socket(AF_INET, SOCK_STREAM, 0);
    connect(fd, addresses[i % addresses.length]!, 'the connection');
    close(fd);
  }
  const seconds = (performance.now() - start) / 1000;
  return { seconds, rate: count / seconds };
}

if (process.argv[2] === 'server') {
  serve();
} else {
  await answerCommands(open);
}
