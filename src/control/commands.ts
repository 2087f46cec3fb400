// The command line of conntrackd, scanned as the C program (1.4.9) scans it, oddities included,
// for scripts depend on them: arguments are read from left to right; the second character alone
// selects a single-dash option, so `-dfoo` and `xd` are `-d`; a parameter is any prefix of its
// word, also the empty one. Pure: returns what to do, prints nothing, touches nothing.
//
// Long options and `-o` are ours. The C program refuses everything that begins with `--` or is
// spelt `-o`, so none of its command lines changes its meaning.

import { jsonRequest, Request } from './protocol.js';

export const DEFAULT_CONFIG_FILE = '/etc/conntrackd/conntrackd.conf';

/** PATH_MAX (linux/limits.h). */
const MAX_PATH = 4096;

export type Command =
  | { kind: 'daemon'; detach: boolean; configFile: string; warnings: readonly string[] }
  | {
      kind: 'client';
      /** Request codes in the order in which to send them. The C syntax yields exactly one. */
      requests: readonly number[];
      configFile: string;
      warnings: readonly string[];
    }
  | { kind: 'check'; configFile: string; warnings: readonly string[] }
  | { kind: 'help' }
  | { kind: 'version' }
  | {
      kind: 'usage-error';
      message: string;
      exit: number;
      /** True: the usage text goes to stdout first, the message to stderr after it. */
      usage: boolean;
    };

type UsageError = Extract<Command, { kind: 'usage-error' }>;

/** Words of a parameter in the order in which they are tried, and the request each selects. */
type Words = readonly (readonly [word: string, request: Request])[];

interface ClientOption {
  /** The request without a parameter. */
  bare: Request;
  words: Words;
  /** A parameter that is no prefix of a word: an error, or left to be read as an option. */
  strict?: boolean;
}

const clientOptions: Readonly<Record<string, ClientOption>> = {
  i: {
    bare: Request.DUMP_INTERNAL,
    words: [
      ['ct', Request.DUMP_INTERNAL],
      ['expect', Request.DUMP_INTERNAL_EXPECT],
    ],
  },
  e: {
    bare: Request.DUMP_EXTERNAL,
    words: [
      ['ct', Request.DUMP_EXTERNAL],
      ['expect', Request.DUMP_EXTERNAL_EXPECT],
    ],
  },
  c: {
    bare: Request.COMMIT,
    words: [
      ['ct', Request.COMMIT_FLOWS],
      ['expect', Request.COMMIT_EXPECT],
    ],
  },
  f: {
    bare: Request.FLUSH_CACHES,
    strict: true,
    words: [
      ['internal', Request.FLUSH_INTERNAL],
      ['external', Request.FLUSH_EXTERNAL],
    ],
  },
  F: {
    bare: Request.FLUSH_KERNEL,
    words: [
      ['ct', Request.FLUSH_KERNEL_FLOWS],
      ['expect', Request.FLUSH_KERNEL_EXPECT],
    ],
  },
  R: {
    bare: Request.RESYNC_KERNEL,
    words: [
      ['ct', Request.RESYNC_KERNEL_FLOWS],
      ['expect', Request.RESYNC_KERNEL_EXPECT],
    ],
  },
  B: { bare: Request.SEND_BULK, words: [] },
  n: { bare: Request.REQUEST_RESYNC, words: [] },
  t: { bare: Request.SCHEDULE_PURGE, words: [] },
  k: { bare: Request.TERMINATE, words: [] },
  s: {
    bare: Request.STATISTICS,
    strict: true,
    words: [
      ['network', Request.STATISTICS_NETWORK],
      ['cache', Request.STATISTICS_CACHE],
      ['runtime', Request.STATISTICS_RUNTIME],
      ['multicast', Request.STATISTICS_LINK],
      ['link', Request.STATISTICS_LINK],
      ['rsqueue', Request.STATISTICS_RESEND_QUEUE],
      ['process', Request.STATISTICS_PROCESS],
      ['queue', Request.STATISTICS_QUEUE],
      ['ct', Request.STATISTICS],
      ['expect', Request.STATISTICS_EXPECT],
      ['ready', Request.STATISTICS_READY],
    ],
  },
};

/** What `-x` makes of a dump. */
const xmlOf = new Map<Request, Request>([
  [Request.DUMP_INTERNAL, Request.DUMP_INTERNAL_XML],
  [Request.DUMP_EXTERNAL, Request.DUMP_EXTERNAL_XML],
  [Request.DUMP_INTERNAL_EXPECT, Request.DUMP_INTERNAL_EXPECT_XML],
  [Request.DUMP_EXTERNAL_EXPECT, Request.DUMP_EXTERNAL_EXPECT_XML],
]);

/** Commands to a running daemon that the C program does not have. */
const longRequests = new Map<string, Request>([
  ['--promote', Request.PROMOTE],
  ['--demote', Request.DEMOTE],
]);

/** What `argv` (without the program's name) asks for. */
export function parseArguments(argv: readonly string[]): Command {
  return new Scanner(argv).scan();
}

class Scanner {
  readonly #argv: readonly string[];
  readonly #warnings: string[] = [];
  #next = 0;
  #detach = false;
  #client = false;
  #check = false;
  #request: Request | undefined;
  #json = false;
  #configFile = DEFAULT_CONFIG_FILE;

  constructor(argv: readonly string[]) {
    this.#argv = argv;
  }

  scan(): Command {
    while (this.#next < this.#argv.length) {
      const argument = this.#argv[this.#next++] ?? '';
      const end = this.#ours(argument) ?? this.#option(argument);
      if (end !== undefined && end !== 'taken') return end;
    }
    const rest = { configFile: this.#configFile, warnings: this.#warnings };
    if (this.#check) {
      if (this.#client || this.#detach) return usageError('Invalid parameters');
      return { kind: 'check', ...rest };
    }
    if (!this.#client) return { kind: 'daemon', detach: this.#detach, ...rest };
    // Only a word that did not match leads here, as in `-i xC file`. The C program sends a request
    // that no daemon knows, and reports success.
    if (this.#request === undefined) return usageError('Invalid parameters');
    const request = this.#json ? jsonRequest(this.#request) : this.#request;
    if (request === undefined) return usageError('This command has no JSON output');
    return { kind: 'client', requests: [request], ...rest };
  }

  /** Takes an option that the C program does not know; it must be spelt out. */
  #ours(argument: string): Command | 'taken' | undefined {
    if (argument === '-o') return this.#output();
    if (argument === '--help') return { kind: 'help' };
    if (argument === '--version') return { kind: 'version' };
    if (argument === '--check') {
      this.#check = true;
      return 'taken';
    }
    const request = longRequests.get(argument);
    if (request !== undefined) {
      if (this.#detach) return usageError('Invalid parameters');
      this.#client = true;
      this.#request = request;
      return 'taken';
    }
    return undefined;
  }

  /** Takes one option; returns a command if that settles the matter. */
  #option(argument: string): Command | undefined {
    const letter = argument.charAt(1);
    const option = Object.hasOwn(clientOptions, letter) ? clientOptions[letter] : undefined;
    if (option !== undefined) return this.#clientOption(letter, option);
    switch (letter) {
      case 'd':
        if (this.#client) return usageError('Invalid parameters');
        this.#detach = true;
        return undefined;
      case 'x':
        return this.#xml();
      case 'C':
        return this.#config();
      case 'h':
        return { kind: 'help' };
      case 'v':
        return { kind: 'version' };
      default:
        return usageError(`Unknown option: ${argument}`);
    }
  }

  /** Several client options: the last one wins, unless the word after it was not for it. */
  #clientOption(letter: string, option: ClientOption): UsageError | undefined {
    if (this.#detach) return usageError('Invalid parameters');
    this.#client = true;
    const parameter = option.words.length === 0 ? undefined : this.#parameter();
    if (parameter === undefined) {
      this.#request = option.bare;
      return undefined;
    }
    const found = option.words.find(([word]) => word.startsWith(parameter));
    if (found === undefined) {
      return option.strict ? unknownParameter(parameter, letter) : undefined;
    }
    this.#next++;
    this.#request = found[1];
    if (found[0] === 'multicast') {
      this.#warnings.push("use `link' instead of `multicast' as parameter.");
    }
    return undefined;
  }

  /** The next argument, not yet taken, unless it looks like an option. */
  #parameter(): string | undefined {
    const argument = this.#argv[this.#next];
    return argument?.startsWith('-') ? undefined : argument;
  }

  #xml(): UsageError | undefined {
    const xml = this.#request === undefined ? undefined : xmlOf.get(this.#request);
    if (xml === undefined) return usageError('Invalid parameters');
    this.#request = xml;
    return undefined;
  }

  #config(): UsageError | undefined {
    const file = this.#argv[this.#next++]; // also one that looks like an option
    if (file === undefined) return usageError('Missing config filename');
    this.#configFile = file.slice(0, MAX_PATH);
    if (file.length > MAX_PATH) {
      this.#warnings.push(
        `Path to config file is too long. Cutting it down to ${MAX_PATH} characters`,
      );
    }
    return undefined;
  }

  #output(): UsageError | 'taken' {
    const format = this.#argv[this.#next++];
    if (format === undefined) return usageError('Missing output format');
    if (format !== 'json') return unknownParameter(format, 'o');
    this.#json = true;
    return 'taken';
  }
}

function usageError(message: string): UsageError {
  return { kind: 'usage-error', message, exit: 1, usage: true };
}

function unknownParameter(parameter: string, letter: string): UsageError {
  const message = `unknown parameter \`${parameter}' for option \`-${letter}'`;
  return { kind: 'usage-error', message, exit: 1, usage: false };
}

/** What `-h` prints, and what goes ahead of most usage errors. */
export function usageText(program: string): string {
  return `Usage: ${program} [commands] [options]

General:
  -d                     run in the background
  -C FILE                use this configuration file
                         (default ${DEFAULT_CONFIG_FILE})
  --check                check the configuration file, say what would run, and exit
  -v, --version          show the version
  -h, --help             show this text

Commands to a running daemon:
  -i [ct|expect]         show the internal cache
  -e [ct|expect]         show the external cache
  -x                     after -i or -e: show it as XML
  -c [ct|expect]         commit the external cache to the kernel
  -f [internal|external] flush the caches
  -F [ct|expect]         flush the kernel tables
  -R [ct|expect]         resync the internal cache with the kernel tables
  -B                     send the internal cache to the peers
  -n                     ask the peers for a resync
  -t                     flush the kernel table in PurgeTimeout seconds
  -k                     terminate the daemon
  --promote              make this node the active one: commit, flush, resync, bulk send;
                         waits and reports each step
  --demote               make this node the backup: schedule the purge, ask for a resync;
                         waits until the peers' flows are here
  -o json                after -i, -e, -s, -c, --promote, --demote: answer as JSON
  -s [VIEW]              show statistics; VIEW is one of network, cache, runtime,
                         link, rsqueue, process, queue, ct, expect, ready
`;
}
