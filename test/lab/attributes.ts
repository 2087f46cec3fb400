// What conntrack(8) does not print of a kernel's flows: window scales and flags of TCP, tags of SCTP, sequence
// adjustment, SYN proxy, master. Read from a dump with a parser of its own, which knows nothing of
// the product's codec.
//
// Source: linux/netfilter/nfnetlink_conntrack.h.

import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import type { Netns } from '../../lab/namespace.js';

const SCRIPT = fileURLToPath(new URL('./kernel-requests.mjs', import.meta.url));
const CT_GET = 0x101;
const HEADERS = 20; // nlmsghdr, nfgenmsg
const NESTED_TYPE = 0x3fff; // without NLA_F_NESTED and NLA_F_NET_BYTEORDER

const CTA = {
  tupleOrig: 1,
  protoinfo: 4,
  tupleMaster: 14,
  seqAdjOrig: 15,
  seqAdjReply: 16,
  zone: 18,
  synproxy: 24,
} as const;
const PROTOINFO = { tcp: 1, sctp: 3 } as const;
const TCP = { wscaleOrig: 2, wscaleReply: 3, flagsOrig: 4, flagsReply: 5 } as const;
const SCTP = { state: 1, vtagOrig: 2, vtagReply: 3 } as const;

/** Attributes of one flow, in hex; absent ones are absent. */
export interface Hidden {
  wscale?: string;
  /** Flags and mask of each direction; those of a flow at work come and go without an event. */
  tcpFlags?: string;
  sctp?: string;
  seqAdjust?: string;
  synproxy?: string;
  master?: string;
}

type Attributes = Map<number, Buffer>;

function attributes(bytes: Buffer): Attributes {
  const found: Attributes = new Map();
  for (let at = 0; at + 4 <= bytes.length; ) {
    const length = bytes.readUInt16LE(at);
    found.set(bytes.readUInt16LE(at + 2) & NESTED_TYPE, bytes.subarray(at + 4, at + length));
    at += (length + 3) & ~3;
  }
  return found;
}

const hex = (bytes: Buffer | undefined): string => bytes?.toString('hex') ?? '';
/** The attributes' own headers tell nothing; a nest of zeros is as good as none. */
const values = (bytes: Buffer | undefined): string => {
  const text = [...attributes(bytes ?? Buffer.alloc(0)).values()].map(hex).join('.');
  return /^[0.]*$/.test(text) ? '' : text;
};

function hidden(flow: Attributes): Hidden {
  const info = attributes(flow.get(CTA.protoinfo) ?? Buffer.alloc(0));
  const tcp = attributes(info.get(PROTOINFO.tcp) ?? Buffer.alloc(0));
  const sctp = attributes(info.get(PROTOINFO.sctp) ?? Buffer.alloc(0));
  const all: Hidden = {
    wscale: [TCP.wscaleOrig, TCP.wscaleReply].map((type) => hex(tcp.get(type))).join('.'),
    tcpFlags: [TCP.flagsOrig, TCP.flagsReply].map((type) => hex(tcp.get(type))).join('.'),
    sctp: [SCTP.state, SCTP.vtagOrig, SCTP.vtagReply].map((type) => hex(sctp.get(type))).join('.'),
    seqAdjust: [CTA.seqAdjOrig, CTA.seqAdjReply].map((type) => values(flow.get(type))).join('/'),
    synproxy: values(flow.get(CTA.synproxy)),
    master: hex(flow.get(CTA.tupleMaster)),
  };
  const told = Object.entries(all).filter(([, text]) => /[^./]/.test(text));
  return Object.fromEntries(told);
}

/** By original tuple and zone, in hex: whatever a kernel knows of its flows and does not print. */
export async function dumpHidden(ns: Netns): Promise<Map<string, Hidden>> {
  const [messages = []] = (await kernelRequests(ns, [{ dump: CT_GET }])) as string[][];
  return new Map(
    messages.map((message) => {
      const flow = attributes(Buffer.from(message, 'hex').subarray(HEADERS));
      return [`${hex(flow.get(CTA.tupleOrig))} ${hex(flow.get(CTA.zone))}`, hidden(flow)];
    }),
  );
}

function kernelRequests(ns: Netns, steps: readonly object[]): Promise<unknown[]> {
  return new Promise((resolve, reject) => {
    const [ip = '', ...words] = [...ns.prefix, process.execPath, SCRIPT];
    const child = spawn(ip, words, { stdio: ['pipe', 'pipe', 'inherit'] });
    let text = '';
    child.stdout.on('data', (chunk) => {
      text += String(chunk);
    });
    child.once('error', reject);
    child.once('close', (status) => {
      if (status === 0) resolve(JSON.parse(text) as unknown[]);
      else reject(new Error(`the dump of ${ns.name} ended with status ${status}`));
    });
    child.stdin.end(JSON.stringify(steps));
  });
}

/** Flows whose hidden attributes differ, a line each. `names`: the attributes to compare. */
export function compareHidden(
  first: Map<string, Hidden>,
  second: Map<string, Hidden>,
  names: readonly (keyof Hidden)[],
): string[] {
  return [...first].flatMap(([key, a]) => {
    const b = second.get(key);
    if (b === undefined) return []; // told by the comparison of the tables
    return names
      .filter((name) => a[name] !== b[name])
      .map((name) => `${key}: ${name} ${a[name]} there, ${b[name]} here`);
  });
}
