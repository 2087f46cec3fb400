// The words of the module's line writer (assembly/text.ts), filled from the names that every report
// uses. The table lies in the caller's memory, is written once and never changes.

import * as W from '../../assembly/text-layout.js';
import {
  DCCP_STATES,
  EVENT_TAGS,
  layer3Name,
  layer4Name,
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
