// Numbers of the kernel's connection tracking messages that the requests of this command use
// (linux/netfilter/nfnetlink_conntrack.h). The decoder has its own in assembly/, where they belong
// to the hot path.

// Message types: subsystem << 8 | operation.
export const CT_NEW = 0x100;
export const CT_GET = 0x101;
export const CT_DELETE = 0x102;
export const CT_GET_CTRZERO = 0x103;
export const CT_GET_STATS_CPU = 0x104;
export const CT_GET_STATS = 0x105;
export const CT_GET_DYING = 0x106;
export const CT_GET_UNCONFIRMED = 0x107;
export const EXP_NEW = 0x200;
export const EXP_GET = 0x201;
export const EXP_DELETE = 0x202;
export const EXP_GET_STATS_CPU = 0x203;

export const CTA_TUPLE_ORIG = 1;
export const CTA_TUPLE_REPLY = 2;
export const CTA_STATUS = 3;
export const CTA_PROTOINFO = 4;
export const CTA_NAT_SRC = 6;
export const CTA_TIMEOUT = 7;
export const CTA_MARK = 8;
export const CTA_ID = 12;
export const CTA_NAT_DST = 13;
export const CTA_ZONE = 18;
export const CTA_MARK_MASK = 21;
export const CTA_LABELS = 22;
export const CTA_LABELS_MASK = 23;
export const CTA_FILTER = 25;
export const CTA_STATUS_MASK = 26;

export const CTA_TUPLE_IP = 1;
export const CTA_TUPLE_PROTO = 2;
export const CTA_TUPLE_ZONE = 3;
export const CTA_IP_V4_SRC = 1;
export const CTA_IP_V4_DST = 2;
export const CTA_IP_V6_SRC = 3;
export const CTA_IP_V6_DST = 4;
export const CTA_PROTO_NUM = 1;
export const CTA_PROTO_SRC_PORT = 2;
export const CTA_PROTO_DST_PORT = 3;
export const CTA_PROTO_ICMP_ID = 4;
export const CTA_PROTO_ICMP_TYPE = 5;
export const CTA_PROTO_ICMP_CODE = 6;
export const CTA_PROTO_ICMPV6_ID = 7;
export const CTA_PROTO_ICMPV6_TYPE = 8;
export const CTA_PROTO_ICMPV6_CODE = 9;

export const CTA_PROTOINFO_TCP = 1;
export const CTA_PROTOINFO_DCCP = 2;
export const CTA_PROTOINFO_SCTP = 3;
export const CTA_PROTOINFO_TCP_STATE = 1;
export const CTA_PROTOINFO_TCP_FLAGS_ORIGINAL = 4;
export const CTA_PROTOINFO_TCP_FLAGS_REPLY = 5;
export const CTA_PROTOINFO_SCTP_STATE = 1;
export const CTA_PROTOINFO_SCTP_VTAG_ORIGINAL = 2;
export const CTA_PROTOINFO_SCTP_VTAG_REPLY = 3;
export const CTA_PROTOINFO_DCCP_STATE = 1;
export const CTA_PROTOINFO_DCCP_ROLE = 2;

export const CTA_NAT_V4_MINIP = 1;
export const CTA_NAT_PROTO = 3;
export const CTA_NAT_V6_MINIP = 4;
export const CTA_PROTONAT_PORT_MIN = 1;
export const CTA_PROTONAT_PORT_MAX = 2;

export const CTA_FILTER_ORIG_FLAGS = 1;
export const CTA_FILTER_REPLY_FLAGS = 2;
// Bits of the filter flags, host order.
export const FILTER_IP_SRC = 0x1;
export const FILTER_IP_DST = 0x2;
export const FILTER_PROTO_NUM = 0x8;
export const FILTER_SRC_PORT = 0x10;
export const FILTER_DST_PORT = 0x20;
export const FILTER_ICMP_TYPE = 0x40;
export const FILTER_ICMP_CODE = 0x80;
export const FILTER_ICMP_ID = 0x100;

export const CTA_STATS_GLOBAL_ENTRIES = 1;

export const CTA_EXPECT_MASTER = 1;
export const CTA_EXPECT_TUPLE = 2;
export const CTA_EXPECT_MASK = 3;
export const CTA_EXPECT_TIMEOUT = 4;
