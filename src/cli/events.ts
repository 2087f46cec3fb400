// -E: the kernel's events as they come. A thread of libuv's pool waits on the event socket; then
// everything that is queued is read, many datagrams a call, and written with one call for each batch. The
// first event is shown at once; while more come, a millisecond is let pass before the next look, as waking
// up costs more than ten events do.
// An overrun of the socket's buffer is reported and the reading goes on. Ends on SIGINT or SIGTERM.
//
//   batch area:  ┌─ BATCH × struct mmsghdr ─┬─ BATCH × iovec ─┬─ BATCH slots of SLOT bytes ─┐
//                └──────────────────────────┴─────────────────┴─────────────────────────────┘
//
// socket(7), recvmmsg(2); linux/netfilter/nfnetlink_compat.h for the groups.

import { setTimeout } from 'node:timers/promises';
import { MMSG_IOV, MMSG_IOVLEN, MMSG_LEN, MMSG_SIZE } from '../../assembly/layout.js';
import { EXPECT_EVENTS, FLOW_EVENTS, MissingCapability, NetlinkSocket } from '../kernel/netlink.js';
import {
  close,
  EAGAIN,
  EINTR,
  ENOBUFS,
  errno,
  errorText,
  eventfd,
  getOption,
  MSG_DONTWAIT,
  POLLFD_SIZE,
  POLLIN,
  pollAsync,
  recvmmsg,
  SO_RCVBUF,
  SOL_SOCKET,
  signalEventfd,
} from '../kernel/syscalls.js';
import { CommandError, failure, PREFIX } from './complain.js';
import { EXPECT, FLOW, type FlowKernel } from './flow-kernel.js';
import { REQUESTS } from './kernel.js';
import { FlowPrinter } from './output.js';
import { programName } from './progname.js';
import type { Request } from './request.js';
import { compileSelection } from './select.js';
import { Sink } from './sink.js';
import { OUT_TIMESTAMP } from './values.js';
import { toStderr } from './write.js';

const BATCH = 128;
const SLOT = 8192; // no event is longer: names and labels included it stays below 1 KiB
const HEADERS = REQUESTS;
const IOVECS = HEADERS + BATCH * MMSG_SIZE;
const POLL = IOVECS + BATCH * 16;
const SLOTS = REQUESTS + 65536;
/** Receive buffer unless -b is given, as the kernel reports it: some 20,000 events that wait. */
const BUFFER = 16 * 2 ** 20;
const GATHER = 1; // ms between two looks while events come
const IDLE = 60_000; // ms of one wait; signals end it sooner

const OVERRUN = `WARNING: We have hit ENOBUFS! We are losing events.
This message means that the current netlink socket buffer size is too small.
Please, check --buffer-size in conntrack(8) manpage.
`;

/** Pages of the memory that events need. */
export const EVENT_PAGES = (SLOTS + BATCH * SLOT) / 65536;

interface Stream {
  /** One message; whether it counted. */
  readonly take: (at: number, size: number, now: number, received: bigint | undefined) => boolean;
  readonly close: () => void;
  readonly summary: (count: number) => string;
}

/** Follows events until a signal; returns the exit status. */
export async function followEvents(kernel: FlowKernel, request: Request): Promise<number> {
  const expect = request.table === 'expect';
  const socket = openSocket(expect ? EXPECT_EVENTS : request.events || FLOW_EVENTS);
  const stop = eventfd();
  let stopped = false;
  const onSignal = () => {
    stopped = true;
    signalEventfd(stop);
  };
  process.on('SIGINT', onSignal).on('SIGTERM', onSignal);
  if (request.has('buffer-size')) setBufferSize(socket, request.bufferSize);
  else socket.receiveBuffer(BUFFER);
  const sink = new Sink(kernel);
  const stream = await (expect ? expectStream : flowStream)(kernel, request, sink);
  const reader = new Reader(kernel, socket, stream, (request.output & OUT_TIMESTAMP) !== 0);
  try {
    while (!stopped) {
      await reader.wait(stop);
      while (!stopped && reader.drain()) {
        do {
          sink.flush();
          await new Promise(setImmediate); // let a signal in
        } while (!stopped && reader.drain());
        sink.flush();
        await setTimeout(GATHER);
      }
    }
  } finally {
    process.off('SIGINT', onSignal).off('SIGTERM', onSignal);
    stream.close();
    socket.close();
    close(stop);
  }
  toStderr(`${PREFIX}${stream.summary(reader.count)}\n`);
  return 0;
}

function openSocket(groups: number): NetlinkSocket {
  try {
    return new NetlinkSocket("can't open the event socket", groups);
  } catch (error) {
    if (!(error instanceof MissingCapability)) throw error;
    toStderr('mnl_socket_bind: Operation not permitted\n');
    throw failure("Can't open netlink socket");
  }
}

function setBufferSize(socket: NetlinkSocket, bytes: number): void {
  socket.receiveBuffer(bytes * 2); // the kernel doubles what it is asked for
  const size = getOption(socket.fd, SOL_SOCKET, SO_RCVBUF);
  toStderr(`NOTICE: Netlink socket buffer size has been set to ${size} bytes.\n`);
}

async function flowStream(kernel: FlowKernel, request: Request, sink: Sink): Promise<Stream> {
  const { core } = kernel;
  const selected = compileSelection(request, kernel.bytes, kernel.view, FLOW);
  const purpose = { events: true, document: true };
  const printer = await FlowPrinter.make(kernel, sink, request, purpose, programName);
  return {
    take: (at, size, now, received) => {
      if (core.decodeFlow(at, size, FLOW) !== 0) return false;
      if (selected !== undefined && !selected()) return false;
      printer.print(now, received);
      return true;
    },
    close: () => printer.close(),
    summary: (count) => `${count} flow events have been shown.`,
  };
}

async function expectStream(kernel: FlowKernel, request: Request, sink: Sink): Promise<Stream> {
  const { ExpectPrinter } = await import('./expect-output.js');
  const { core } = kernel;
  const printer = new ExpectPrinter(kernel, sink, request, { events: true, document: true });
  return {
    take: (at, size, _now, received) => {
      if (core.decodeExpect(at, size, EXPECT) !== 0) return false;
      printer.print(received);
      return true;
    },
    close: () => printer.close(),
    summary: (count) => `${count} expectation events have been shown.`,
  };
}

class Reader {
  count = 0;

  constructor(
    private readonly kernel: FlowKernel,
    private readonly socket: NetlinkSocket,
    private readonly stream: Stream,
    private readonly timed: boolean,
  ) {
    const { view, base } = kernel;
    for (let i = 0; i < BATCH; i++) {
      const header = HEADERS + i * MMSG_SIZE;
      const iovec = IOVECS + i * 16;
      view.setBigUint64(iovec, BigInt(base + SLOTS + i * SLOT), true);
      view.setBigUint64(iovec + 8, BigInt(SLOT), true);
      view.setBigUint64(header + MMSG_IOV, BigInt(base + iovec), true);
      view.setBigUint64(header + MMSG_IOVLEN, 1n, true);
    }
  }

  /** Waits until there is something to read, or `stop` is signalled. */
  async wait(stop: number): Promise<void> {
    const { view, base } = this.kernel;
    for (const [i, fd] of [this.socket.fd, stop].entries()) {
      view.setInt32(POLL + i * POLLFD_SIZE, fd, true);
      view.setInt32(POLL + i * POLLFD_SIZE + 4, POLLIN, true);
    }
    await pollAsync(base + POLL, 2, IDLE);
  }

  /** Reads one batch; false when nothing was queued. */
  drain(): boolean {
    const { kernel, socket } = this;
    const count = recvmmsg(socket.fd, kernel.base + HEADERS, BATCH, MSG_DONTWAIT, 0);
    if (count <= 0) return this.failed(errno());
    const clock = Date.now();
    const now = Math.trunc(clock / 1000);
    const received = this.timed ? receipt() : undefined;
    for (let i = 0; i < count; i++) {
      const length = kernel.view.getUint32(HEADERS + i * MMSG_SIZE + MMSG_LEN, true);
      if (this.stream.take(SLOTS + i * SLOT, length, now, received)) this.count++;
    }
    return true;
  }

  private failed(reason: number): boolean {
    if (reason === EAGAIN || reason === EINTR) return false;
    if (reason !== ENOBUFS) {
      throw new CommandError(`failed to received netlink event: ${errorText(reason)}`, 1);
    }
    toStderr(OVERRUN);
    return true;
  }
}

/** Now in ns since the epoch, with the microseconds that Date lacks. */
function receipt(): bigint {
  return BigInt(Math.round((performance.timeOrigin + performance.now()) * 1000)) * 1000n;
}
