// The system calls Node lacks, through koffi. Addresses are plain numbers: everything the data path
// passes lies in the shared WebAssembly memory, whose address never changes.
//
// Nothing here blocks but `pollAsync`, which waits on a thread of libuv's pool. Sources: the man
// pages of section 2 and the uapi headers named beside the constants.

import { readdirSync } from 'node:fs';
import { constants as os } from 'node:os';
import koffi from 'koffi';

// bits/socket.h, asm-generic/socket.h
export const AF_UNIX = 1;
export const AF_INET = 2;
export const AF_INET6 = 10;
export const AF_NETLINK = 16;
export const SOCK_STREAM = 1;
export const SOCK_DGRAM = 2;
export const SOCK_RAW = 3;
export const SOCK_CLOEXEC = 0o2000000;
export const SOCK_NONBLOCK = 0o4000;
export const SOL_SOCKET = 1;
export const SO_REUSEADDR = 2;
export const SO_SNDBUF = 7;
export const SO_RCVBUF = 8;
export const SO_KEEPALIVE = 9;
export const SO_NO_CHECK = 11;
export const SO_LINGER = 13;
export const SO_BINDTODEVICE = 25;
export const SO_ATTACH_FILTER = 26;
export const SO_DETACH_FILTER = 27;
export const SO_SNDBUFFORCE = 32;
export const SO_RCVBUFFORCE = 33;
export const MSG_DONTWAIT = 0x40;
export const MSG_NOSIGNAL = 0x4000;

// poll.h
export const POLLIN = 1;
export const POLLOUT = 4;
/** Bytes of a struct pollfd: i32 fd, i16 events, i16 revents. */
export const POLLFD_SIZE = 8;

export const {
  EAGAIN,
  ECONNREFUSED,
  EEXIST,
  EINTR,
  EINVAL,
  ENOENT,
  ENOBUFS,
  ESRCH,
  EPERM,
  EACCES,
} = os.errno;
export const { EALREADY, ECONNABORTED, EINPROGRESS, EISCONN } = os.errno;

// The C library of the process itself: glibc or musl, whatever Node was linked with.
const libc = koffi.load(null);

const cSocket = libc.func('int socket(int domain, int type, int protocol)');
const cBind = libc.func('int bind(int fd, const void *address, uint32_t length)');
const cConnect = libc.func('int connect(int fd, const void *address, uint32_t length)');
const cListen = libc.func('int listen(int fd, int backlog)');
const cAccept = libc.func('int accept4(int fd, uintptr_t address, uintptr_t length, int flags)');
const cName = libc.func('int getsockname(int fd, _Out_ void *address, _Inout_ uint32_t *length)');
const cSetOption = libc.func(
  'int setsockopt(int fd, int level, int name, const void *value, uint32_t length)',
);
const cGetOption = libc.func(
  'int getsockopt(int fd, int level, int name, _Out_ void *value, _Inout_ uint32_t *length)',
);
const cRecv = libc.func('intptr_t recv(int fd, uintptr_t buffer, size_t length, int flags)');
const cSend = libc.func('intptr_t send(int fd, uintptr_t buffer, size_t length, int flags)');
const cSendBytes = libc.func('intptr_t send(int fd, const void *buffer, size_t length, int flags)');
const cRecvmmsg = libc.func(
  'int recvmmsg(int fd, uintptr_t headers, uint32_t count, int flags, uintptr_t timeout)',
);
const cSendmmsg = libc.func('int sendmmsg(int fd, uintptr_t headers, uint32_t count, int flags)');
const cPoll = libc.func('int poll(uintptr_t fds, unsigned long count, int timeout)');
const cClose = libc.func('int close(int fd)');
const cEventfd = libc.func('int eventfd(uint32_t initial, int flags)');
const cWrite = libc.func('intptr_t write(int fd, const void *buffer, size_t length)');
const cRead = libc.func('intptr_t read(int fd, _Out_ void *buffer, size_t length)');
const cMadvise = libc.func('int madvise(uintptr_t address, size_t length, int advice)');
const cFlock = libc.func('int flock(int fd, int operation)');
const cStrerror = libc.func('const char *strerror(int number)');
const cScheduler = libc.func('int sched_setscheduler(int pid, int policy, const void *parameters)');
const cIndex = libc.func('uint32_t if_nametoindex(const char *name)');
const cOpenlog = libc.func('void openlog(void *ident, int option, int facility)');
const cSyslog = libc.func('void syslog(int priority, const char *format, ...)');

/** A failed system call: which, and the kernel's reason. */
export class SystemCallError extends Error {
  readonly code: string;
  constructor(
    readonly call: string,
    readonly errno: number,
    what?: string,
  ) {
    super(`${what === undefined ? call : `${what}: ${call}`}: ${errorText(errno)}`);
    this.name = 'SystemCallError';
    this.code = Object.entries(os.errno).find(([, n]) => n === errno)?.[0] ?? `errno ${errno}`;
  }
}

/** errno of the last call of this thread. */
export function errno(): number {
  return koffi.errno();
}

/** The C library's words for an errno, as in "No such file or directory". */
export function errorText(number: number): string {
  return cStrerror(number);
}

function checked(call: string, result: number, what?: string): number {
  if (result < 0) throw new SystemCallError(call, koffi.errno(), what);
  return result;
}

/** Address of the first byte of `memory`. Valid as long as the buffer lives. */
export function addressOf(memory: WebAssembly.Memory): number {
  return Number(koffi.address(new Uint8Array(memory.buffer)));
}

const MADV_HUGEPAGE = 14; // asm-generic/mman-common.h
const SMALL_PAGE = 4096;

/**
 * Asks for large pages of memory that will be filled: a hint, which the kernel may ignore. A small page
 * of which only a part belongs to it is left out.
 */
export function preferLargePages(address: number, length: number): void {
  const start = Math.ceil(address / SMALL_PAGE) * SMALL_PAGE;
  cMadvise(start, address + length - start, MADV_HUGEPAGE);
}

export function socket(domain: number, type: number, protocol: number): number {
  return checked('socket', cSocket(domain, type | SOCK_CLOEXEC, protocol));
}

export function bind(fd: number, address: Uint8Array, what?: string): void {
  checked('bind', cBind(fd, address, address.length), what);
}

export function connect(fd: number, address: Uint8Array, what?: string): void {
  checked('connect', cConnect(fd, address, address.length), what);
}

/** Begins to connect, or asks a socket that does how it went; returns 0 or the errno. */
export function tryConnect(fd: number, address: Uint8Array): number {
  return cConnect(fd, address, address.length) < 0 ? koffi.errno() : 0;
}

export function listen(fd: number, backlog: number, what?: string): void {
  checked('listen', cListen(fd, backlog), what);
}

/** A connection that waits, non-blocking, or -1; ask errno() then. */
export function accept(fd: number): number {
  return cAccept(fd, 0, 0, SOCK_CLOEXEC | SOCK_NONBLOCK);
}

/** The bound address of a socket, at most 128 bytes. */
export function socketName(fd: number): Uint8Array {
  const address = new Uint8Array(128);
  const length = [address.length];
  checked('getsockname', cName(fd, address, length));
  return address.subarray(0, length[0]);
}

/** Sets an integer option; returns 0 or the errno. */
export function setOption(fd: number, level: number, name: number, value: number): number {
  const word = new Int32Array([value]);
  return cSetOption(fd, level, name, word, 4) < 0 ? koffi.errno() : 0;
}

/** Sets an option of raw bytes; returns 0 or the errno. */
export function setOptionBytes(fd: number, level: number, name: number, value: Uint8Array): number {
  return cSetOption(fd, level, name, value, value.length) < 0 ? koffi.errno() : 0;
}

/** Sets an option of an integer or of raw bytes; throws SystemCallError when the kernel refuses. */
export function requireOption(
  fd: number,
  level: number,
  name: number,
  value: number | Uint8Array,
  what?: string,
): void {
  const reason =
    typeof value === 'number'
      ? setOption(fd, level, name, value)
      : setOptionBytes(fd, level, name, value);
  if (reason !== 0) throw new SystemCallError('setsockopt', reason, what);
}

/**
 * Attaches a classic BPF program (struct sock_filter[], in a buffer of its own); an empty one detaches.
 * Returns 0 or the errno.
 */
export function setSocketFilter(fd: number, program: Uint8Array<ArrayBuffer>): number {
  if (program.length === 0) {
    const reason = setOption(fd, SOL_SOCKET, SO_DETACH_FILTER, 0);
    return reason === ENOENT ? 0 : reason;
  }
  const header = new DataView(new ArrayBuffer(16)); // struct sock_fprog: u16 length, pointer at 8
  header.setUint16(0, program.length / 8, true);
  header.setBigUint64(8, BigInt(koffi.address(program)), true);
  return setOptionBytes(fd, SOL_SOCKET, SO_ATTACH_FILTER, new Uint8Array(header.buffer));
}

export function getOption(fd: number, level: number, name: number): number {
  const word = new Int32Array(1);
  checked('getsockopt', cGetOption(fd, level, name, word, [4]));
  return word[0]!;
}

/**
 * Forces the receive or send buffer to `bytes` as the kernel reports them (it doubles what it is
 * given). Falls back to the unforced option; returns the size in force.
 */
export function setBuffer(fd: number, direction: 'receive' | 'send', bytes: number): number {
  const force = direction === 'receive' ? SO_RCVBUFFORCE : SO_SNDBUFFORCE;
  const plain = direction === 'receive' ? SO_RCVBUF : SO_SNDBUF;
  const half = Math.ceil(bytes / 2);
  if (setOption(fd, SOL_SOCKET, force, half) !== 0) setOption(fd, SOL_SOCKET, plain, half);
  return getOption(fd, SOL_SOCKET, plain);
}

// The calls of the data path: result or -1; ask errno() then. No object is made.
export const recv: (fd: number, buffer: number, length: number, flags: number) => number = cRecv;
export const send: (fd: number, buffer: number, length: number, flags: number) => number = cSend;
export const recvmmsg: (
  fd: number,
  headers: number,
  count: number,
  flags: number,
  timeout: number,
) => number = cRecvmmsg;
export const sendmmsg: (fd: number, headers: number, count: number, flags: number) => number =
  cSendmmsg;

/** Sends bytes of JavaScript's own memory; result or -1, without waiting and without SIGPIPE. */
export function sendBytes(fd: number, bytes: Uint8Array): number {
  return cSendBytes(fd, bytes, bytes.length, MSG_DONTWAIT | MSG_NOSIGNAL);
}

/** Waits on `count` struct pollfd at `fds` for up to `timeout` ms without blocking this thread. */
export function pollAsync(fds: number, count: number, timeout: number): Promise<number> {
  return new Promise((resolve, reject) => {
    cPoll.async(fds, count, timeout, (error: unknown, ready: number) => {
      if (error) reject(error);
      else resolve(ready);
    });
  });
}

export function close(fd: number): void {
  cClose(fd);
}

/** A counter that poll can wait on (eventfd(2), non-blocking). */
export function eventfd(): number {
  return checked('eventfd', cEventfd(0, SOCK_CLOEXEC | SOCK_NONBLOCK));
}

const ONE = new BigUint64Array([1n]);
const COUNT = new BigUint64Array(1);

export function signalEventfd(fd: number): void {
  cWrite(fd, ONE, 8);
}

export function clearEventfd(fd: number): void {
  cRead(fd, COUNT, 8);
}

const LOCK_EX = 2;
const LOCK_NB = 4;

/** Takes an advisory lock that ends with the process; false when another process holds it. */
export function lockFile(fd: number): boolean {
  if (cFlock(fd, LOCK_EX | LOCK_NB) === 0) return true;
  const reason = koffi.errno();
  if (reason === EAGAIN) return false;
  throw new SystemCallError('flock', reason);
}

// linux/sched.h
export const SCHEDULERS = { FIFO: 1, RR: 2 } as const;
const SCHED_RESET_ON_FORK = 0x40000000;
const HIGHEST_PRIORITY = 99;

/**
 * Real-time class for this process: the main thread at `priority`, all its other threads one above
 * it. They must not be below: V8's main thread waits in a loop for its helpers, and a helper that
 * never gets the processor would let it wait for ever. Returns 0 or the errno.
 */
export function setScheduler(policy: keyof typeof SCHEDULERS, priority: number): number {
  const main = Math.min(priority, HIGHEST_PRIORITY - 1);
  for (const name of readdirSync('/proc/self/task')) {
    const thread = Number(name);
    const own = thread === process.pid ? main : main + 1;
    const parameters = new Int32Array([own]);
    // Processes that we start begin in the default class.
    const flags = thread === process.pid ? SCHED_RESET_ON_FORK : 0;
    if (cScheduler(thread, SCHEDULERS[policy] | flags, parameters) < 0) {
      const reason = koffi.errno();
      if (reason !== ESRCH) return reason; // a thread that has just ended
    }
  }
  return 0;
}

/** Kernel index of a network interface, 0 when there is none of that name. */
export function interfaceIndex(name: string): number {
  return cIndex(name);
}

const LOG_PID = 1;
let syslogIdent: unknown; // the C library keeps the pointer: it must live as long as the process

/** Opens syslog(3) for this process; `facility` is the number of syslog.h, not shifted. */
export function openSyslog(ident: string, facility: number): void {
  syslogIdent = koffi.alloc('char', ident.length + 1);
  koffi.encode(syslogIdent, 'char', ident, ident.length + 1);
  cOpenlog(syslogIdent, LOG_PID, facility << 3);
}

export function writeSyslog(priority: number, text: string): void {
  cSyslog(priority, '%s', 'str', text);
}
