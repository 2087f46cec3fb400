// Deleting what a kernel dump lists, one request per flow. The kernel's own flush would be shorter,
// but it knows no filter and would take the flows of our own links with it: only flows that the
// configuration follows are ours to delete.

import { REQUEST_DELETE, decodeFlow, encodeRequest } from './ctnetlink';
import { filterPasses } from './filter';
import { CONTROL_FILTER } from './layout';

const NLM_F_ACK: u16 = 0x4;
const REQUEST_ROOM: u32 = 1024;

/**
 * Writes a delete request for each of `count` listed dump entries (`flow`: a scratch Flow) to `out`;
 * the n-th has nlmsg_seq `sequence` + n, the last one asks for an acknowledgement. Returns the bytes
 * written. Entries that the filter refuses are left out; those beyond `room` too, which the caller
 * prevents.
 */
export function deleteRequests(
  entries: usize,
  count: u32,
  flow: usize,
  out: usize,
  room: u32,
  sequence: u32,
): u32 {
  const filter = <usize>load<u32>(CONTROL_FILTER);
  let used: u32 = 0;
  let last: usize = 0;
  for (let i: u32 = 0; i < count && used + REQUEST_ROOM <= room; i++) {
    const message = <usize>load<u32>(entries + (<usize>i << 2));
    if (decodeFlow(message, load<u32>(message), flow) != 0) continue;
    if (filter != 0 && !filterPasses(filter, flow, 0)) continue;
    const at = out + <usize>used;
    const length = encodeRequest(flow, at, room - used, REQUEST_DELETE, sequence + i, 0, 0);
    if (length <= 0) continue;
    last = at;
    used += <u32>length;
  }
  if (last != 0) store<u16>(last, load<u16>(last, 6) | NLM_F_ACK, 6);
  return used;
}
