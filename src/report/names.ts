// Names that reports print for numbers of the kernel: protocols, connection states, status bits.
// Constant tables; owns no memory that grows, never blocks. Every table bears the header that its
// numbers come from. The spelling is what operators grep for: `conntrack` and `conntrackd` have
// printed these words for many years.

/** Address families (linux/socket.h), as the third layer is numbered in a flow. */
export const AF_INET = 2;
export const AF_INET6 = 10;

/** IANA protocol numbers that have ports, keys or types in a tuple (linux/in.h). */
export const IPPROTO_ICMP = 1;
export const IPPROTO_TCP = 6;
export const IPPROTO_UDP = 17;
export const IPPROTO_DCCP = 33;
export const IPPROTO_GRE = 47;
export const IPPROTO_ICMPV6 = 58;
export const IPPROTO_SCTP = 132;
export const IPPROTO_UDPLITE = 136;

const layer4Names = new Map<number, string>([
  [IPPROTO_ICMP, 'icmp'],
  [IPPROTO_TCP, 'tcp'],
  [IPPROTO_UDP, 'udp'],
  [IPPROTO_DCCP, 'dccp'],
  [IPPROTO_GRE, 'gre'],
  [IPPROTO_ICMPV6, 'icmpv6'],
  [IPPROTO_SCTP, 'sctp'],
  [IPPROTO_UDPLITE, 'udplite'],
]);

/** `tcp`, `udp`, ...; `unknown` for every protocol without a tracker of its own. */
export function layer4Name(protocol: number): string {
  return layer4Names.get(protocol) ?? 'unknown';
}

/** `ipv4`, `ipv6`, or `unknown` for a tuple without addresses. */
export function layer3Name(family: number): string {
  if (family === AF_INET) return 'ipv4';
  return family === AF_INET6 ? 'ipv6' : 'unknown';
}

/** enum tcp_conntrack (linux/netfilter/nf_conntrack_tcp.h); 9 was called LISTEN once. */
export const TCP_STATES = [
  'NONE',
  'SYN_SENT',
  'SYN_RECV',
  'ESTABLISHED',
  'FIN_WAIT',
  'CLOSE_WAIT',
  'LAST_ACK',
  'TIME_WAIT',
  'CLOSE',
  'SYN_SENT2',
] as const;

/** enum sctp_conntrack (linux/netfilter/nf_conntrack_sctp.h). */
export const SCTP_STATES = [
  'NONE',
  'CLOSED',
  'COOKIE_WAIT',
  'COOKIE_ECHOED',
  'ESTABLISHED',
  'SHUTDOWN_SENT',
  'SHUTDOWN_RECD',
  'SHUTDOWN_ACK_SENT',
  'HEARTBEAT_SENT',
  'HEARTBEAT_ACKED',
] as const;

/** enum ct_dccp_states (linux/netfilter/nf_conntrack_dccp.h of kernels up to 6.15). */
export const DCCP_STATES = [
  'NONE',
  'REQUEST',
  'RESPOND',
  'PARTOPEN',
  'OPEN',
  'CLOSEREQ',
  'CLOSING',
  'TIMEWAIT',
  'IGNORE',
  'INVALID',
] as const;

/**
 * The name of a state by the protocol of its flow, `NONE` for a number out of range, undefined for
 * a protocol without states.
 */
export function stateName(protocol: number, state: number): string | undefined {
  if (protocol === IPPROTO_TCP) return TCP_STATES[state] ?? 'NONE';
  if (protocol === IPPROTO_SCTP) return SCTP_STATES[state] ?? 'NONE';
  if (protocol === IPPROTO_DCCP) return DCCP_STATES[state] ?? 'NONE';
  return undefined;
}

/** enum ip_conntrack_status (linux/netfilter/nf_conntrack_common.h), the bits reports look at. */
export const IPS_SEEN_REPLY = 0x2;
export const IPS_ASSURED = 0x4;
export const IPS_OFFLOAD = 0x4000;
export const IPS_HW_OFFLOAD = 0x8000;

/** All of enum ip_conntrack_status: the name of bit i stands at place i. */
export const STATUS_NAMES = [
  'EXPECTED',
  'SEEN_REPLY',
  'ASSURED',
  'CONFIRMED',
  'SRC_NAT',
  'DST_NAT',
  'SEQ_ADJUST',
  'SRC_NAT_DONE',
  'DST_NAT_DONE',
  'DYING',
  'FIXED_TIMEOUT',
  'TEMPLATE',
  'UNTRACKED',
  'HELPER',
  'OFFLOAD',
  'HW_OFFLOAD',
] as const;

/** NF_CT_EXPECT_* (linux/netfilter/nf_conntrack_common.h): bit i at place i. */
export const EXPECT_FLAG_NAMES = ['PERMANENT', 'INACTIVE', 'USERSPACE'] as const;

/** The names of the bits that are set, lowest first; bits without a name are left out. */
export function bitNames(bits: number, names: readonly string[]): string[] {
  return names.filter((_, bit) => (bits >>> bit) & 1);
}

/** What happened to the flow that a line tells about; undefined for a line of a dump. */
export type EventKind = 'new' | 'update' | 'destroy';

/** The tag of an event line, right-justified to nine columns. */
export const EVENT_TAGS: Readonly<Record<EventKind, string>> = {
  new: '    [NEW]',
  update: ' [UPDATE]',
  destroy: '[DESTROY]',
};

/** The command that a saved line begins with; a flow of a list is added. */
export const SAVE_COMMANDS: Readonly<Record<EventKind, string>> = {
  new: '-A',
  update: '-U',
  destroy: '-D',
};

/** Connection labels by bit number (0..127), as read from connlabel.conf. */
export type LabelMap = ReadonlyMap<number, string>;
