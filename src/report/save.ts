// A flow as the arguments of the command that makes it again: `conntrack -o save`, the input of
// `conntrack -R`. Reads a wide Flow in place, keeps nothing, never blocks. Marks and labels are left
// out, as the C command leaves them out, unless the whole flow is asked for (`-o whole`); what no line
// can say (helpers, counters) always is.

import {
  HAS_DCCP_ROLE,
  HAS_LABELS,
  HAS_MARK,
  HAS_REPLY,
  HAS_STATE,
  HAS_STATUS,
  HAS_TIMEOUT,
  HAS_VTAG,
  HAS_ZONE,
  HAS_ZONE_ORIG,
  HAS_ZONE_REPLY,
  SAW_SECMARK,
} from '../../assembly/layout.js';
import { labelNames } from './flow.js';
import {
  bitNames,
  type EventKind,
  IPPROTO_DCCP,
  IPPROTO_GRE,
  IPPROTO_ICMP,
  IPPROTO_ICMPV6,
  IPPROTO_SCTP,
  IPPROTO_TCP,
  IPPROTO_UDP,
  IPPROTO_UDPLITE,
  type LabelMap,
  layer4Name,
  SAVE_COMMANDS,
  STATUS_NAMES,
  stateName,
} from './names.js';
import type { FlowReader } from './reader.js';

/** Status bits that a line can name: EXPECTED, SEEN_REPLY, ASSURED, FIXED_TIMEOUT. */
const NAMED = 0x1 | 0x2 | 0x4 | 0x400;
const IPS_SRC_NAT_DONE = 0x80;
const IPS_DST_NAT_DONE = 0x100;

/** The arguments, without a newline. `event` decides the command; a flow of a list is added. */
export function flowSave(
  flow: FlowReader,
  event: EventKind = 'new',
  whole?: { readonly labels: LabelMap | undefined },
): string {
  const words = [SAVE_COMMANDS[event]];
  if (flow.has(HAS_TIMEOUT)) words.push(`-t ${flow.timeout}`);
  if (flow.has(HAS_STATUS)) words.push(`-u ${statusText(flow.status)}`);
  if (flow.saw(SAW_SECMARK)) words.push(`-c ${flow.secmark}`);
  if (flow.has(HAS_ZONE)) words.push(`-w ${flow.zone}`);
  if (flow.has(HAS_ZONE_ORIG)) words.push(`--orig-zone ${flow.zoneOrig}`);
  if (flow.has(HAS_ZONE_REPLY)) words.push(`--reply-zone ${flow.zoneReply}`);
  words.push(addressText(flow), protocolText(flow));
  if (whole !== undefined && event !== 'destroy') words.push(...wholeWords(flow, whole.labels));
  return words.join(' ');
}

/** Mark and labels; a label without a name cannot be told. */
function wholeWords(flow: FlowReader, map: LabelMap | undefined): string[] {
  const words: string[] = [];
  if (flow.has(HAS_MARK) && flow.mark !== 0) words.push(`-m ${flow.mark}`);
  const names = map !== undefined && flow.has(HAS_LABELS) ? labelNames(flow, map) : [];
  if (names.length > 0) {
    const list = names.join(',');
    words.push(`--label-add ${list.includes(' ') ? `"${list}"` : list}`);
  }
  return words;
}

function statusText(status: number): string {
  const names = bitNames(status & NAMED, STATUS_NAMES);
  return names.length === 0 ? 'UNSET' : names.join(',');
}

/** Addresses; a translated address of the reply is named as the translation. */
function addressText(flow: FlowReader): string {
  const { src, dst } = flow.orig;
  const orig = `-s ${src} -d ${dst}`;
  if (!flow.has(HAS_REPLY)) return orig;
  const from = flow.reply.src;
  const to = flow.reply.dst;
  const status = flow.has(HAS_STATUS) ? flow.status : 0;
  const target = status & IPS_DST_NAT_DONE && from !== dst ? '-g' : '-r';
  const source = status & IPS_SRC_NAT_DONE && to !== src ? '-n' : '-q';
  return `${orig} ${target} ${from} ${source} ${to}`;
}

/** A DCCP flow of a kernel that does not track DCCP (Linux 6.16 and later): it has no ports to name. */
function untracked(flow: FlowReader): boolean {
  const { protocol, sport, dport } = flow.orig;
  return protocol === IPPROTO_DCCP && !flow.has(HAS_STATE) && sport === 0 && dport === 0;
}

function protocolText(flow: FlowReader): string {
  const { orig, reply } = flow;
  const { protocol } = orig;
  const name = layer4Name(protocol);
  const words = [`-p ${name === 'unknown' ? protocol : name}`];
  const replied = flow.has(HAS_REPLY);
  switch (protocol) {
    case IPPROTO_TCP:
    case IPPROTO_UDP:
    case IPPROTO_UDPLITE:
    case IPPROTO_SCTP:
    case IPPROTO_DCCP:
      if (untracked(flow)) break;
      words.push(`--sport ${orig.sport} --dport ${orig.dport}`);
      if (replied) {
        words.push(`--reply-port-src ${reply.sport} --reply-port-dst ${reply.dport}`);
      }
      break;
    case IPPROTO_GRE:
      words.push(`--srckey ${orig.sport} --dstkey ${orig.dport}`);
      if (replied) words.push(`--reply-key-src ${reply.sport} --reply-key-dst ${reply.dport}`);
      break;
    case IPPROTO_ICMP:
    case IPPROTO_ICMPV6:
      words.push(
        `--${name}-type ${orig.icmpType} --${name}-code ${orig.icmpCode} --${name}-id ${orig.sport}`,
      );
  }
  if (flow.has(HAS_STATE)) {
    const state = stateName(protocol, flow.state);
    if (state !== undefined) words.push(`--state ${state}`);
  }
  if (flow.has(HAS_VTAG)) {
    words.push(`--orig-vtag ${flow.vtagOrig} --reply-vtag ${flow.vtagReply}`);
  }
  if (flow.has(HAS_DCCP_ROLE)) words.push(`--role ${flow.dccpRole === 0 ? 'client' : 'server'}`);
  return words.join(' ');
}
