// The client's end of the control socket: sends one request, copies the reply as bytes to an
// output and tells the exit status. Speaks to our daemon and to the C daemon (protocol.ts says how
// the two are told apart). Holds at most one chunk: while the output is full, the socket is not
// read, so a dump of millions of flows into a pager costs no memory here.

import { connect, type Socket } from 'node:net';
import type { Writable } from 'node:stream';
import { decodeStatus, encodeRequest, FIRST_EXTENSION, Request, WANTS_STATUS } from './protocol.js';

/** What the C client says, word for word: scripts look for it. */
export const CANNOT_CONNECT = "can't connect: is conntrackd running? appropriate permissions?";

/** To a command that the C daemon does not have. */
const NOT_OURS = 'the daemon does not know this command: it is not Flowtwin, or an older one';

export interface ClientOptions {
  path: string;
  code: number;
  /** Gets the reply. Left open. */
  output: Writable;
  /** Gets one line when something failed. */
  complain: (message: string) => void;
  /** Gets what a daemon of ours says about a command that succeeded, one line. */
  inform?: (message: string) => void;
}

/**
 * Runs one request; resolves with the exit status of the program and never rejects. The output may
 * still hold bytes then: set process.exitCode, do not call process.exit.
 */
export async function runRequest(options: ClientOptions): Promise<number> {
  const { path, code, output, complain, inform } = options;
  const first = await exchange(path, code + WANTS_STATUS, output);
  // Not a byte: a C daemon, for which the flagged code was unknown. Ask again in its language.
  const plain = first.kind === 'silence' && code < FIRST_EXTENSION;
  const outcome = plain ? await exchange(path, code, output) : first;
  switch (outcome.kind) {
    case 'refused':
      complain(CANNOT_CONNECT);
      return 1;
    case 'failed':
      complain(`the connection broke: ${outcome.error.message}`);
      return 1;
    case 'status':
      if (outcome.exit !== 0) complain(outcome.message);
      else if (outcome.message !== '') inform?.(outcome.message);
      return outcome.exit;
    case 'silence':
      if (code < FIRST_EXTENSION) return 0;
      complain(NOT_OURS);
      return 1;
    case 'cut':
      if (code === Request.TERMINATE) return 0;
      complain('the daemon closed the connection before the command was complete');
      return 1;
    default:
      return 0;
  }
}

/** True if something accepts connections at this path. */
export function isAnswered(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ path });
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}

type Outcome =
  | { kind: 'refused' }
  | { kind: 'failed'; error: Error }
  /** End of file without a byte. */
  | { kind: 'silence' }
  /** Plain text until the end of file. */
  | { kind: 'plain' }
  | { kind: 'status'; exit: number; message: string }
  /** The daemon knew the flag but sent no status. */
  | { kind: 'cut' }
  /** The reader of our output left (`| head`): nobody is there to complain to. */
  | { kind: 'unread' };

function exchange(path: string, code: number, output: Writable): Promise<Outcome> {
  return new Promise((resolve) => {
    const socket = connect({ path });
    const parser = new ReplyParser();
    let connected = false;
    const finish = (outcome: Outcome): void => {
      output.off('error', unread);
      socket.destroy();
      resolve(outcome);
    };
    const unread = (): void => finish({ kind: 'unread' });
    output.on('error', unread);
    socket.once('connect', () => {
      connected = true;
      socket.write(encodeRequest(code));
    });
    socket.on('data', (chunk) => {
      const text = parser.push(chunk);
      if (text.length > 0 && !output.write(text)) waitFor(output, socket);
    });
    socket.once('error', (error) =>
      finish(connected ? { kind: 'failed', error } : { kind: 'refused' }),
    );
    socket.once('end', () => finish(parser.outcome()));
  });
}

function waitFor(output: Writable, socket: Socket): void {
  socket.pause();
  output.once('drain', () => socket.resume());
}

/** Separates the text of a reply from the marks of protocol.ts. */
class ReplyParser {
  #any = false;
  #marked = false;
  #status: Buffer | undefined;

  /** Takes the next bytes; returns those that are text. */
  push(chunk: Buffer): Buffer {
    let text = chunk;
    if (!this.#any && text.length > 0) {
      this.#any = true;
      this.#marked = text[0] === 0;
      if (this.#marked) text = text.subarray(1);
    }
    if (!this.#marked) return text;
    if (this.#status !== undefined) {
      this.#status = Buffer.concat([this.#status, text]);
      return Buffer.alloc(0);
    }
    const end = text.indexOf(0);
    if (end < 0) return text;
    this.#status = Buffer.from(text.subarray(end + 1));
    return text.subarray(0, end);
  }

  /** What the reply was, once it has ended. */
  outcome(): Outcome {
    if (!this.#any) return { kind: 'silence' };
    if (!this.#marked) return { kind: 'plain' };
    const status = decodeStatus(this.#status?.toString() ?? '');
    return status === undefined ? { kind: 'cut' } : { kind: 'status', ...status };
  }
}
