// Which words may stand together: the checks of a whole command line, in the order of their
// complaints. Pure; throws usage errors. docs/conntrack.md, "Order of complaints".

import { usageError } from './complain.js';
import { bits, OPTION_NAMES, rulesOf } from './options.js';
import { P, type Protocol, protocolOptionName } from './protocols.js';
import type { Request } from './request.js';

const ORIG_PAIR = bits('src', 'dst');
const REPLY_PAIR = bits('reply-src', 'reply-dst');
const ONE_NAT = bits('src-nat', 'dst-nat');
const ZERO_CONFLICTS =
  ORIG_PAIR |
  REPLY_PAIR |
  bits('protonum', 'mark', 'secmark', 'status', 'zone', 'label', 'orig-zone', 'reply-zone');

/** Whether the words may stand together. */
export function checkRules(request: Request): void {
  const { command, given, places, choice } = request;
  if (request.has('any-nat') && given & ONE_NAT) {
    throw usageError("cannot specify `--src-nat' or `--dst-nat' with `--any-nat'");
  }
  if (command === undefined) {
    complainOf(0, given, (bit) => OPTION_NAMES[bit]!);
    return;
  }
  const { needs, allows, pair } = rulesOf(command, request.table);
  complainOf(needs & ~given, given & ~allows, (bit) => OPTION_NAMES[bit]!);
  if (pair) checkPair(given, ORIG_PAIR, REPLY_PAIR, ADDRESS_HALVES);
  const protocol = choice?.protocol;
  if (protocol !== undefined && command !== 'help') {
    const rules = protocol.rules(command, request.table);
    complainOf(rules.needs & ~places, places & ~rules.allows, (place) =>
      protocolOptionName(protocol, place),
    );
    if (rules.pair) checkPair(places, ORIG_PORTS, REPLY_PORTS, protocol.halves);
    if (command === 'create' || command === 'add') checkDirections(request, protocol);
  }
  checkSelection(request);
}

const ORIG_PORTS = (1 << P.sport) | (1 << P.dport);
const REPLY_PORTS = (1 << P.replySport) | (1 << P.replyDport);
const ADDRESS_HALVES = ["`--src' and `--dst'", "`--reply-src' and `--reply-dst'"] as const;

/** The first complaint in the order of the bits: something needed is missing, or too much given. */
function complainOf(missing: number, illegal: number, name: (bit: number) => string): void {
  const all = missing | illegal;
  if (all === 0) return;
  const bit = 31 - Math.clz32(all & -all);
  if (missing & (1 << bit)) {
    throw usageError(`You need to supply the \`--${name(bit)}' option for this command`);
  }
  throw usageError(`Illegal option \`--${name(bit)}' with this command`);
}

/** One of two pairs must be complete. */
function checkPair(
  given: number,
  orig: number,
  reply: number,
  halves: readonly [string, string],
): void {
  if ((given & orig) === orig || (given & reply) === reply) return;
  const some = given & (orig | reply);
  const onlyReply = some !== 0 && (some & reply) === some;
  throw usageError(`you have to specify ${halves[onlyReply ? 1 : 0]}`);
}

/** Addresses of the reply need ports of the reply: the original ones would name another flow. */
function checkDirections(request: Request, protocol: Protocol): void {
  const { given, places } = request;
  const replyOnly = (given & ORIG_PAIR) !== ORIG_PAIR;
  if (replyOnly && places & ORIG_PORTS && (places & REPLY_PORTS) !== REPLY_PORTS) {
    throw usageError(`you have to specify ${protocol.halves[1]}`);
  }
}

function checkSelection(request: Request): void {
  if (request.table === 'expect') return;
  if (request.has('mask-src') && !request.has('src')) {
    throw usageError("Can't use --mask-src without --src");
  }
  if (request.has('mask-dst') && !request.has('dst')) {
    throw usageError("Can't use --mask-dst without --dst");
  }
  if (request.command === 'list' && request.has('zero') && request.given & ZERO_CONFLICTS) {
    throw usageError("Can't use -z with filtering parameters");
  }
}
