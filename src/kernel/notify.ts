// Notices to the service manager: sd_notify(3) without its library. One datagram each on the UNIX
// socket that $NOTIFY_SOCKET names, a path or, with `@`, a name in the abstract space (unix(7)).
//
// Nothing blocks: a manager that does not read loses the notice, as it must not hold up the daemon.

import {
  AF_UNIX,
  close,
  connect,
  errno,
  errorText,
  SOCK_DGRAM,
  SOCK_NONBLOCK,
  sendBytes,
  socket,
} from './syscalls.js';

/** sun_path of sockaddr_un. */
const PATH_MAX = 108;
const NUL = 0;
const ABSTRACT = '@';

/** struct sockaddr_un; undefined when `name` is neither a path nor abstract, or is too long. */
export function unixAddress(name: string): Uint8Array | undefined {
  const path = Buffer.from(name);
  const abstract = name.startsWith(ABSTRACT);
  if (!(abstract || name.startsWith('/')) || path.length < 2) return undefined;
  // A path ends with a NUL; an abstract name begins with one instead of the `@`.
  if (path.length + (abstract ? 0 : 1) > PATH_MAX) return undefined;
  if (abstract) path[0] = NUL;
  const address = new Uint8Array(2 + path.length + (abstract ? 0 : 1));
  new DataView(address.buffer).setUint16(0, AF_UNIX, true);
  address.set(path, 2);
  return address;
}

/** The service manager's ear. Make it once; it holds one descriptor. */
export class ServiceManager {
  /** The last notice was lost: said once, not for each. */
  private deaf = false;

  private constructor(
    private readonly fd: number,
    private readonly onError: (reason: string) => void,
  ) {}

  /**
   * Connects to the socket `name`; undefined without a name, or, after `onError`, when nobody
   * listens there. `onError` also hears of notices that could not be sent.
   */
  static find(
    name: string | undefined,
    onError: (reason: string) => void,
  ): ServiceManager | undefined {
    if (name === undefined || name === '') return undefined;
    const address = unixAddress(name);
    if (address === undefined) {
      onError(`NOTIFY_SOCKET is no socket's name: ${name}`);
      return undefined;
    }
    const fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    try {
      connect(fd, address, `can't reach the service manager at ${name}`);
    } catch (error) {
      close(fd);
      onError(error instanceof Error ? error.message : String(error));
      return undefined;
    }
    return new ServiceManager(fd, onError);
  }

  /** Sends assignments (`READY=1`, ...) in one datagram. */
  notify(...assignments: string[]): void {
    if (sendBytes(this.fd, Buffer.from(assignments.join('\n'))) >= 0) {
      this.deaf = false;
    } else if (!this.deaf) {
      this.deaf = true;
      this.onError(`can't notify the service manager: ${errorText(errno())}`);
    }
  }

  close(): void {
    close(this.fd);
  }
}
