// The words of the module's line writers (assembly/text.ts, assembly/save.ts), filled from the names that
// every report uses. The table lies in the caller's memory, is written once and never changes.

import * as W from '../../assembly/text-layout.js';
import {
  DCCP_STATES,
  EVENT_TAGS,
  layer3Name,
  layer4Name,
  SAVE_COMMANDS,
  SCTP_STATES,
  TCP_STATES,
} from '../report/names.js';

const FIXED: readonly (readonly [number, string])[] = [
  [W.WORD_NEW, `${EVENT_TAGS.new} `],
  [W.WORD_UPDATE, `${EVENT_TAGS.update} `],
  [W.WORD_DESTROY, `${EVENT_TAGS.destroy} `],
  [W.WORD_SRC, ' src='],
  [W.WORD_DST, ' dst='],
  [W.WORD_SPORT, ' sport='],
  [W.WORD_DPORT, ' dport='],
  [W.WORD_SRCKEY, ' srckey=0x'],
  [W.WORD_DSTKEY, ' dstkey=0x'],
  [W.WORD_TYPE, ' type='],
  [W.WORD_CODE, ' code='],
  [W.WORD_ICMP_ID, ' id='],
  [W.WORD_ZONE_ORIG, ' zone-orig='],
  [W.WORD_ZONE_REPLY, ' zone-reply='],
  [W.WORD_PACKETS, ' packets='],
  [W.WORD_BYTES, ' bytes='],
  [W.WORD_UNREPLIED, ' [UNREPLIED]'],
  [W.WORD_HW_OFFLOAD, ' [HW_OFFLOAD]'],
  [W.WORD_OFFLOAD, ' [OFFLOAD]'],
  [W.WORD_ASSURED, ' [ASSURED]'],
  [W.WORD_MARK, ' mark='],
  [W.WORD_SECMARK, ' secmark='],
  [W.WORD_SECCTX, ' secctx='],
  [W.WORD_ZONE, ' zone='],
  [W.WORD_DELTA, ' delta-time='],
  [W.WORD_HELPER, ' helper='],
  [W.WORD_USE, ' use='],
  [W.WORD_ID, ' id='],
  [W.WORD_SAVE_NEW, SAVE_COMMANDS.new],
  [W.WORD_SAVE_UPDATE, SAVE_COMMANDS.update],
  [W.WORD_SAVE_DESTROY, SAVE_COMMANDS.destroy],
  [W.WORD_SAVE_TIMEOUT, ' -t '],
  [W.WORD_SAVE_STATUS, ' -u '],
  [W.WORD_SAVE_EXPECTED, 'EXPECTED,'],
  [W.WORD_SAVE_SEEN_REPLY, 'SEEN_REPLY,'],
  [W.WORD_SAVE_ASSURED, 'ASSURED,'],
  [W.WORD_SAVE_FIXED_TIMEOUT, 'FIXED_TIMEOUT,'],
  [W.WORD_SAVE_UNSET, 'UNSET'],
  [W.WORD_SAVE_SECMARK, ' -c '],
  [W.WORD_SAVE_ZONE, ' -w '],
  [W.WORD_SAVE_ZONE_ORIG, ' --orig-zone '],
  [W.WORD_SAVE_ZONE_REPLY, ' --reply-zone '],
  [W.WORD_SAVE_SRC, ' -s '],
  [W.WORD_SAVE_DST, ' -d '],
  [W.WORD_SAVE_REPLY_SRC, ' -r '],
  [W.WORD_SAVE_REPLY_DST, ' -q '],
  [W.WORD_SAVE_SRC_NAT, ' -n '],
  [W.WORD_SAVE_DST_NAT, ' -g '],
  [W.WORD_SAVE_PROTOCOL, ' -p '],
  [W.WORD_SAVE_SPORT, ' --sport '],
  [W.WORD_SAVE_DPORT, ' --dport '],
  [W.WORD_SAVE_REPLY_SPORT, ' --reply-port-src '],
  [W.WORD_SAVE_REPLY_DPORT, ' --reply-port-dst '],
  [W.WORD_SAVE_SRCKEY, ' --srckey '],
  [W.WORD_SAVE_DSTKEY, ' --dstkey '],
  [W.WORD_SAVE_REPLY_SRCKEY, ' --reply-key-src '],
  [W.WORD_SAVE_REPLY_DSTKEY, ' --reply-key-dst '],
  [W.WORD_SAVE_ICMP_TYPE, ' --icmp-type '],
  [W.WORD_SAVE_ICMP_CODE, ' --icmp-code '],
  [W.WORD_SAVE_ICMP_ID, ' --icmp-id '],
  [W.WORD_SAVE_ICMPV6_TYPE, ' --icmpv6-type '],
  [W.WORD_SAVE_ICMPV6_CODE, ' --icmpv6-code '],
  [W.WORD_SAVE_ICMPV6_ID, ' --icmpv6-id '],
  [W.WORD_SAVE_STATE, ' --state'],
  [W.WORD_SAVE_VTAG_ORIG, ' --orig-vtag '],
  [W.WORD_SAVE_VTAG_REPLY, ' --reply-vtag '],
  [W.WORD_SAVE_CLIENT, ' --role client'],
  [W.WORD_SAVE_SERVER, ' --role server'],
];

/** Fills the WORDS_SIZE bytes at `table`. */
export function writeWords(bytes: Uint8Array, table: number): void {
  const put = (index: number, text: string): void => {
    const slot = table + index * W.SLOT;
    for (let i = 0; i < text.length; i++) bytes[slot + i] = text.charCodeAt(i);
    bytes[slot + W.SLOT_LENGTH] = text.length;
  };
  for (let protocol = 0; protocol < 256; protocol++) {
    put(W.WORD_PROTOCOL + protocol, `${layer4Name(protocol).padEnd(8)} ${protocol}`);
  }
  for (let state = 0; state < 16; state++) {
    put(W.WORD_TCP_STATE + state, ` ${TCP_STATES[state] ?? 'NONE'}`);
    put(W.WORD_SCTP_STATE + state, ` ${SCTP_STATES[state] ?? 'NONE'}`);
    put(W.WORD_DCCP_STATE + state, ` ${DCCP_STATES[state] ?? 'NONE'}`);
  }
  for (let family = 0; family < 16; family++) {
    put(W.WORD_FAMILY + family, `${layer3Name(family).padEnd(8)} ${family} `);
  }
  for (const [index, text] of FIXED) put(index, text);
}
