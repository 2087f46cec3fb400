// How a command ends badly: the texts that scripts look for, and the two exit statuses. Pure values;
// src/bin/conntrack.ts prints them. Status 2 means the words were wrong (a second line points to the
// help), status 1 that the operation failed. docs/conntrack.md, "Exit status".

import { constants } from 'node:os';

/** The version whose behaviour is spoken; scripts look for this prefix on standard error. */
export const VERSION = '1.4.9';
export const PREFIX = `conntrack v${VERSION} (conntrack-tools): `;
const TRY = "Try `conntrack -h' or 'conntrack --help' for more information.\n";

export class CommandError extends Error {
  constructor(
    message: string,
    readonly exit: 1 | 2,
    /** A line of ours below the first, for example which line of a file it was. */
    readonly hint?: string,
  ) {
    super(message);
    this.name = 'CommandError';
  }

  /** Everything for standard error. */
  get text(): string {
    const hint = this.hint === undefined ? '' : `${this.hint}\n`;
    return `${PREFIX}${this.message}\n${hint}${this.exit === 2 ? TRY : ''}`;
  }

  /** The same error with a line that tells where. */
  at(hint: string): CommandError {
    return new CommandError(this.message, this.exit, hint);
  }
}

/** Wrong words: status 2. */
export function usageError(message: string): CommandError {
  return new CommandError(message, 2);
}

/** The operation cannot be done: status 1. */
export function failure(message: string): CommandError {
  return new CommandError(message, 1);
}

/** What was being done, for the words of an errno. */
export type Operation =
  | 'list'
  | 'get'
  | 'create'
  | 'add'
  | 'update'
  | 'delete'
  | 'flush'
  | 'event'
  | 'count'
  | 'stats';

const { EINVAL, EEXIST, ENOENT, ENOMEM, EAFNOSUPPORT, ETIME, EPERM } = constants.errno;
const ENOTSUPP = 524; // of the kernel itself, unknown to the C library

const WORDS: readonly [number, readonly Operation[], string][] = [
  [EEXIST, ['create'], 'Such conntrack exists, try -U to update'],
  [ENOENT, ['create', 'get', 'delete', 'add'], "such conntrack doesn't exist"],
  [ENOMEM, ['create', 'get', 'add'], 'not enough memory'],
  [EAFNOSUPPORT, ['get'], 'protocol not supported'],
  [ETIME, ['create', 'add'], 'conntrack has expired'],
  [ENOTSUPP, ['list'], 'function not implemented'],
];
const INVALID: readonly Operation[] = [
  'create',
  'update',
  'delete',
  'get',
  'list',
  'flush',
  'event',
  'count',
];
const NOT_ROOT = 'sorry, you must be root or get CAP_NET_ADMIN capability to do this';

/** The words for an errno; `system` gives those of the C library. */
export function errnoWords(
  operation: Operation,
  expect: boolean,
  errno: number,
  system: (errno: number) => string,
): string {
  if (errno === EPERM) return NOT_ROOT;
  if (errno === EINVAL && INVALID.includes(operation) && !(expect && operation === 'count')) {
    return 'invalid parameters';
  }
  if (expect) {
    return errno === ENOENT && operation === 'create'
      ? 'master conntrack not found'
      : system(errno);
  }
  const words = WORDS.find(([number, of]) => number === errno && of.includes(operation));
  return words?.[2] ?? system(errno);
}

/** `Operation failed: TEXT`, status 1. */
export function operationFailed(
  operation: Operation,
  expect: boolean,
  errno: number,
  system: (errno: number) => string,
): CommandError {
  return failure(`Operation failed: ${errnoWords(operation, expect, errno, system)}`);
}
