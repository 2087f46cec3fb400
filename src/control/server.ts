// The daemon's end of the control socket: a UNIX stream socket, mode 0600, one request a
// connection (protocol.ts). Runs on the main thread beside the road and never blocks it: a client
// that is silent is dropped after a while, one that reads slowly holds up only its own reply
// (`write` resolves when there is room for more), one that leaves aborts the handler.
//
// Owns the socket file: removes a stale one at the start and its own at the end. The handler owns
// what it writes until `write` resolves. After a successful TERMINATE the connection stays open
// until the process is gone: scripts take its end for the sign that they may start a new daemon.

import { lstatSync, rmSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { isAnswered } from './client.js';
import {
  CommandError,
  decodeRequest,
  encodeStatus,
  REQUEST_LENGTH,
  Request,
  requestName,
  WANTS_STATUS,
} from './protocol.js';

/** Where a handler puts its answer. */
export interface Reply {
  /** Resolves when there is room for more; rejects with the signal's reason if the client left. */
  write(chunk: string | Uint8Array): Promise<void>;
  /** Aborted when the client is gone or the server shuts down. */
  readonly signal: AbortSignal;
}

/**
 * Carries out one request. Throws CommandError to fail it visibly. If it resolves to a text, that is
 * the message of the status: our client shows it, a C client never sees it.
 */
export type Handler = (code: number, reply: Reply) => Promise<unknown>;

export interface ControlOptions {
  path: string;
  handler: Handler;
  /** Milliseconds that a client may take to send its request. Default 5000. */
  requestTimeout?: number;
  /** Commands carried out at the same time; more are turned away. Default 64. */
  maxClients?: number;
  /** Told of errors of handlers that are not CommandErrors: defects. */
  onError?: (error: unknown, code: number) => void;
}

/** What a control server has seen since its start. */
export interface ControlCounters {
  requests: number;
  /** Codes that are no request. */
  unknown: number;
  /** Clients that closed or were dropped before their request was complete. */
  readFailed: number;
  /** Commands that ended with a CommandError or a defect. */
  failed: number;
  /** Replies cut short because the client left. */
  aborted: number;
}

/** Reasons for which a server does not start or a reply ends. */
export class ControlError extends Error {
  readonly code: 'ERR_CONTROL_IN_USE' | 'ERR_CONTROL_NOT_A_SOCKET' | 'ERR_CLIENT_GONE';

  constructor(code: ControlError['code'], message: string) {
    super(message);
    this.name = 'ControlError';
    this.code = code;
  }
}

/** How a command ended: what the client exits with, and what it says if that is not 0. */
interface Outcome {
  exit: number;
  message: string;
}

const NUL = '\0';
/** The part of a request that is its code. */
const CODE_MASK = 0xffff;

export class ControlServer {
  readonly counters: ControlCounters = {
    requests: 0,
    unknown: 0,
    readFailed: 0,
    failed: 0,
    aborted: 0,
  };
  readonly #options: Required<Omit<ControlOptions, 'onError'>> & ControlOptions;
  readonly #server: Server;
  readonly #clients = new Set<Client>();
  #running = 0;

  private constructor(options: ControlOptions) {
    this.#options = { requestTimeout: 5000, maxClients: 64, ...options };
    // Half-open: a client that closes its writing side after the request still gets its reply.
    this.#server = createServer({ allowHalfOpen: true }, (socket) => this.#accept(socket));
  }

  /** Binds and listens. Rejects if a daemon answers at the path or a file that is no socket is. */
  static async listen(options: ControlOptions): Promise<ControlServer> {
    await removeStale(options.path);
    const control = new ControlServer(options);
    await control.#bind();
    return control;
  }

  #bind(): Promise<void> {
    const { path } = this.#options;
    return new Promise((resolve, reject) => {
      this.#server.once('error', reject);
      // The file must never be open to others, so the mask is set while it is made; `listen` binds
      // a path before it returns.
      const mask = process.umask(0o177);
      try {
        this.#server.listen({ path, backlog: 100 }, () => {
          this.#server.off('error', reject);
          // A failed accept (no descriptors left) must not end the daemon.
          this.#server.on('error', (error) => this.#options.onError?.(error, -1));
          resolve();
        });
      } finally {
        process.umask(mask);
      }
    });
  }

  #accept(socket: Socket): void {
    const client = new Client(socket);
    this.#clients.add(client);
    client.gone.addEventListener('abort', () => this.#clients.delete(client));
    this.#serve(client).catch((error) => this.#options.onError?.(error, -1));
  }

  async #serve(client: Client): Promise<void> {
    const bytes = await client.request(this.#options.requestTimeout);
    if (bytes === undefined) {
      this.counters.readFailed++;
      client.destroy();
      return;
    }
    const word = decodeRequest(bytes);
    const extended = (word & ~CODE_MASK) === WANTS_STATUS;
    const code = extended ? word & CODE_MASK : word;
    const outcome = await this.#answer(client, code, extended);
    if (outcome === undefined) client.unref();
    else client.end(extended ? NUL + encodeStatus(outcome.exit, outcome.message) : '');
  }

  /** Carries out a request. Undefined: the end of the process shall be the end of the reply. */
  async #answer(client: Client, code: number, extended: boolean): Promise<Outcome | undefined> {
    if (extended) await client.write(NUL).catch(() => undefined);
    if (requestName(code) === undefined) {
      this.counters.unknown++;
      return { exit: 1, message: `unknown request ${code}` };
    }
    this.counters.requests++;
    if (this.#running >= this.#options.maxClients) {
      this.counters.failed++;
      return { exit: 1, message: `busy with ${this.#running} other clients` };
    }
    client.terminates = code === Request.TERMINATE;
    this.#running++;
    const outcome = await this.#run(client, code);
    this.#running--;
    if (outcome.exit !== 0) client.terminates = false;
    return client.terminates ? undefined : outcome;
  }

  /** Runs the handler; never rejects. */
  async #run(client: Client, code: number): Promise<Outcome> {
    try {
      const reply = { write: (c: string | Uint8Array) => client.write(c), signal: client.gone };
      const message = await this.#options.handler(code, reply);
      return { exit: 0, message: typeof message === 'string' ? message : '' };
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      if (client.gone.aborted && error === client.gone.reason) {
        this.counters.aborted++;
        return { exit: 1, message };
      }
      this.counters.failed++;
      if (error instanceof CommandError) return { exit: error.exit, message };
      this.#options.onError?.(error, code);
      return { exit: 1, message };
    }
  }

  /**
   * Stops listening, removes the socket file and drops all clients but those that asked for the
   * end: they learn of it by end of file, when the process is gone, and do not keep it alive.
   */
  async close(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    rmSync(this.#options.path, { force: true });
    let waiting = false;
    for (const client of this.#clients) {
      if (client.terminates) {
        client.unref();
        waiting = true;
      } else {
        client.destroy();
      }
    }
    if (!waiting) await closed;
  }
}

/** One connection. */
class Client {
  /** It asked for the end of the daemon. */
  terminates = false;
  readonly #socket: Socket;
  readonly #gone = new AbortController();

  constructor(socket: Socket) {
    this.#socket = socket;
    socket.on('error', () => undefined); // 'close' follows, and tells all that is needed
    socket.once('close', () => this.#leave('the client closed its connection'));
  }

  get gone(): AbortSignal {
    return this.#gone.signal;
  }

  /** The first four bytes; undefined if they do not come in time. Later bytes are dropped. */
  request(timeout: number): Promise<Uint8Array | undefined> {
    const bytes = new Uint8Array(REQUEST_LENGTH);
    let length = 0;
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, timeout, undefined);
      const finish = (request?: Uint8Array): void => {
        clearTimeout(timer);
        resolve(request);
      };
      this.#socket.on('data', (chunk) => {
        const taken = chunk.subarray(0, REQUEST_LENGTH - length);
        bytes.set(taken, length);
        length += taken.length;
        if (length === REQUEST_LENGTH) finish(bytes);
      });
      this.#socket.once('end', () => length < REQUEST_LENGTH && finish());
      this.#socket.once('close', () => finish());
    });
  }

  write(chunk: string | Uint8Array): Promise<void> {
    if (this.gone.aborted) return Promise.reject(this.gone.reason);
    if (this.#socket.write(chunk)) return Promise.resolve();
    return new Promise((resolve, reject) => {
      const drained = (): void => {
        this.gone.removeEventListener('abort', left);
        resolve();
      };
      const left = (): void => {
        this.#socket.off('drain', drained);
        reject(this.gone.reason);
      };
      this.#socket.once('drain', drained);
      this.gone.addEventListener('abort', left, { once: true });
    });
  }

  /** Sends the last bytes and closes. The reply is complete, so nothing more is read. */
  end(last: string): void {
    if (this.gone.aborted) return;
    this.#socket.end(last, () => this.#socket.destroy());
  }

  /** Drops the client at once, whatever it still waits for. */
  destroy(): void {
    this.#leave('the client was dropped');
    this.#socket.destroy();
  }

  #leave(why: string): void {
    if (!this.gone.aborted) this.#gone.abort(new ControlError('ERR_CLIENT_GONE', why));
  }

  unref(): void {
    this.#socket.unref();
  }
}

async function removeStale(path: string): Promise<void> {
  const found = lstatSync(path, { throwIfNoEntry: false });
  if (found === undefined) return;
  if (!found.isSocket()) {
    throw new ControlError('ERR_CONTROL_NOT_A_SOCKET', `${path} exists and is not a socket`);
  }
  if (await isAnswered(path)) {
    throw new ControlError('ERR_CONTROL_IN_USE', `a daemon answers at ${path}`);
  }
  rmSync(path, { force: true });
}
