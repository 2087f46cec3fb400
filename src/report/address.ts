// Addresses as text, straight from memory. Owns nothing, never blocks.
//
// IPv6 follows RFC 5952: lower case, no leading zeros, the longest run of zero words shortened,
// the first of equals, a lone zero word left alone. The dotted form of the last four bytes follows
// inet_ntop of the C library (which RFC 5952 section 5 permits), because lines are compared with
// those of the C programs: a run from word 0 of exactly six words, or of five followed by ffff.

/** The four bytes at `at` as dotted decimal. Does not bounds-check beyond what DataView does. */
export function ipv4Text(view: DataView, at: number): string {
  const high = view.getUint16(at);
  const low = view.getUint16(at + 2);
  return `${high >> 8}.${high & 255}.${low >> 8}.${low & 255}`;
}

/** The sixteen bytes at `at` in the shortest form. */
export function ipv6Text(view: DataView, at: number): string {
  let start = -1; // the longest run of zero words
  let length = 1; // a run must be longer than this
  for (let i = 0; i < 8; i++) {
    let end = i;
    while (end < 8 && view.getUint16(at + end * 2) === 0) end++;
    if (end - i > length) {
      start = i;
      length = end - i;
    }
    if (end > i) i = end;
  }
  if (start === 0 && (length === 6 || (length === 5 && view.getUint16(at + 10) === 0xffff))) {
    return `::${length === 5 ? 'ffff:' : ''}${ipv4Text(view, at + 12)}`;
  }
  if (start < 0) return words(view, at, 0, 8);
  return `${words(view, at, 0, start)}::${words(view, at, start + length, 8)}`;
}

function words(view: DataView, at: number, from: number, to: number): string {
  let text = '';
  for (let i = from; i < to; i++) {
    text += `${i > from ? ':' : ''}${view.getUint16(at + i * 2).toString(16)}`;
  }
  return text;
}
