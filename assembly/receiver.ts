// Receiving datagrams, on main: where each message begins, whether its number is the expected one,
// and what it asks for. Attributes are not looked at: flow messages go on as a list of addresses.
// In a multicast group each sender has numbers of its own. What main must do (send an ACK, forget the
// resend queue, …) leaves as a list of actions, in the order in which the messages asked.
// docs/wire-protocol.md, "Receiving".

import {
  FLAG_HELLO,
  FLAG_HELLO_BACK,
  FRAME_TRUNCATED,
  FRAME_VERSION,
  KIND_ACK,
  KIND_BAD,
  KIND_EXPECT,
  KIND_FLOW,
  KIND_NACK,
  KIND_RESYNC,
  MSG_EXP_DEL,
  MSG_CT_DEL,
  frameFlags,
  frameFrom,
  frameKind,
  frameLength,
  frameSeq,
  frameTo,
  frameType,
  frameVersion,
} from './framing';
import {
  ACTION_FROM,
  ACTION_GOT_ALIVE,
  ACTION_GOT_ACK,
  ACTION_GOT_HELLO,
  ACTION_GOT_HELLO_BACK,
  ACTION_GOT_NACK,
  ACTION_GOT_RESYNC,
  ACTION_KIND,
  ACTION_MESSAGE,
  ACTION_PEER,
  ACTION_SEND_ACK,
  ACTION_SEND_NACK,
  ACTION_SIZE,
  ACTION_TO,
  ACTIONS_MAX,
  LIST_MAX,
  MMSG_FLAGS,
  MMSG_LEN,
  MMSG_SIZE,
  NAME_SIZE,
  MMSG_NAMELEN,
  ACTION_NEW_PEER,
  PEERS_MAX,
  PEER_ACCEPTED,
  PEER_ACK_FROM,
  PEER_ACK_FROM_SET,
  PEER_ADDRESS,
  PEER_FAMILY,
  PEER_FIRST,
  PEER_LAST,
  PEER_LOST,
  PEER_OF,
  PEER_ON,
  PEER_PLACE,
  PEER_SET,
  PEER_SIZE,
  PEER_USED,
  PEER_WINDOW,
  RECEIVER_CURRENT,
  RECEIVER_LINK,
  RECEIVER_NAMES,
  RECEIVER_PEERS,
  RECEIVER_STRANGERS,
  MESSAGE_PLACE,
  MODE_ALARM,
  MODE_FTFW,
  MSG_TRUNC,
  RECEIVER_ACCEPTED,
  RECEIVER_ACTION_COUNT,
  RECEIVER_ACTIONS,
  RECEIVER_BAD_HEADER,
  RECEIVER_BAD_SIZE,
  RECEIVER_BAD_TYPE,
  RECEIVER_BAD_VERSION,
  RECEIVER_BEFORE,
  RECEIVER_BYTES,
  RECEIVER_CUT,
  RECEIVER_DATAGRAMS,
  RECEIVER_EXPECT_COUNT,
  RECEIVER_EXPECTS,
  RECEIVER_FLOW_COUNT,
  RECEIVER_FLOWS,
  RECEIVER_LOST,
  RECEIVER_MALFORMED,
  RECEIVER_MODE,
  RECEIVER_TRUNCATED,
  RECEIVER_WINDOW_SIZE,
} from './layout';
import { bump } from './table';

const DATAGRAM_MAX: u32 = 65536;
const AF_INET6: u32 = 10; // linux/socket.h
const SMALLEST_MESSAGE: u32 = 8;

// @ts-ignore: decorator
@inline
function entryOf(receiver: usize, index: u32): usize {
  return <usize>load<u32>(receiver, RECEIVER_PEERS) + <usize>index * PEER_SIZE;
}

// @ts-ignore: decorator
@inline
function entryIndex(receiver: usize, entry: usize): u32 {
  return (<u32>entry - load<u32>(receiver, RECEIVER_PEERS)) / <u32>PEER_SIZE;
}

/** The entry with the numbers of the sender at hand. */
// @ts-ignore: decorator
@inline
function currentPeer(receiver: usize): usize {
  return entryOf(receiver, load<u32>(<usize>load<u32>(receiver, RECEIVER_CURRENT), PEER_OF));
}

function act(receiver: usize, kind: u32, from: u32, to: u32, message: usize): void {
  const n = load<u32>(receiver, RECEIVER_ACTION_COUNT);
  if (n >= <u32>ACTIONS_MAX) return; // cannot be: the batch loop stops long before
  const at = <usize>load<u32>(receiver, RECEIVER_ACTIONS) + <usize>n * ACTION_SIZE;
  store<u32>(at, kind, ACTION_KIND);
  store<u32>(at, from, ACTION_FROM);
  store<u32>(at, to, ACTION_TO);
  store<u32>(at, entryIndex(receiver, <usize>load<u32>(receiver, RECEIVER_CURRENT)), ACTION_PEER);
  store<u32>(at, <u32>message, ACTION_MESSAGE);
  store<u32>(receiver, n + 1, RECEIVER_ACTION_COUNT);
}

function listMessage(receiver: usize, list: usize, count: usize, message: usize): void {
  const n = load<u32>(receiver + count);
  store<u32>(<usize>load<u32>(receiver + list) + (<usize>n << 2), <u32>message);
  store<u32>(receiver + count, n + 1);
}

// @ts-ignore: decorator
@inline
function refuse(receiver: usize, counter: usize): void {
  bump(receiver + RECEIVER_MALFORMED);
  bump(receiver + counter);
}

/**
 * Walks the datagrams `first` … `count` - 1 of a batch of `struct mmsghdr` at `headers` (payloads at
 * `slots`, `slotSize` apart). Stops early, after a whole datagram, when the lists must be emptied;
 * returns the index to go on with.
 */
export function receiveBatch(
  receiver: usize,
  headers: usize,
  slots: usize,
  slotSize: u32,
  first: u32,
  count: u32,
): u32 {
  let i = first;
  while (i < count) {
    const header = headers + <usize>i * MMSG_SIZE;
    const length = load<u32>(header, MMSG_LEN);
    // What did not fit its slot is cut anywhere: its whole messages count, the rest is truncated.
    if (load<u32>(header, MMSG_FLAGS) & MSG_TRUNC) bump(receiver + RECEIVER_CUT);
    if (load<u32>(receiver, RECEIVER_NAMES) == 0 || findSender(receiver, header, i)) {
      receiveDatagram(receiver, slots + <usize>i * <usize>slotSize, min<u32>(length, slotSize));
    }
    i++;
    if (load<u32>(receiver, RECEIVER_ACTION_COUNT) != 0) break;
    const listed = max<u32>(
      load<u32>(receiver, RECEIVER_FLOW_COUNT),
      load<u32>(receiver, RECEIVER_EXPECT_COUNT),
    );
    if (listed + DATAGRAM_MAX / SMALLEST_MESSAGE > <u32>LIST_MAX) break;
  }
  return i;
}

/**
 * Finds or makes the entry of the sender of datagram `i`; false when there is no room for one more:
 * those who are known stay, so a flood of made-up senders displaces nobody.
 */
function findSender(receiver: usize, header: usize, i: u32): bool {
  const name = <usize>load<u32>(receiver, RECEIVER_NAMES) + <usize>i * NAME_SIZE;
  // struct sockaddr_in, sockaddr_in6: family, port, then the address at 4 or 8. Not the port: it is
  // another one after each start.
  const family = <u32>load<u16>(name);
  const long = family == AF_INET6;
  const low = long ? load<u64>(name, 8) : <u64>load<u32>(name, 4);
  const high = long ? load<u64>(name, 16) : 0;
  store<u32>(header, <u32>NAME_SIZE, MMSG_NAMELEN); // the kernel has put the true length there
  const link = load<u32>(receiver, RECEIVER_LINK);
  const current = <usize>load<u32>(receiver, RECEIVER_CURRENT);
  if (isSender(current, link, family, low, high)) return true;
  let free: usize = 0;
  let known: usize = 0;
  let alone = true; // one node is known, and nobody was heard on this link
  for (let n: u32 = 0; n < <u32>PEERS_MAX; n++) {
    const entry = entryOf(receiver, n);
    if (!load<u32>(entry, PEER_USED)) {
      if (free == 0) free = entry;
      continue;
    }
    if (isSender(entry, link, family, low, high)) {
      store<u32>(receiver, <u32>entry, RECEIVER_CURRENT);
      return true;
    }
    if (known == 0) known = entry;
    // Who takes another's numbers for its own makes the other's count as old: no guess among several.
    if (load<u32>(entry, PEER_OF) != load<u32>(known, PEER_OF)) alone = false;
    if (load<u32>(entry, PEER_ON) == link) alone = false;
  }
  if (free == 0) {
    bump(receiver + RECEIVER_STRANGERS);
    return false;
  }
  memory.fill(free, 0, PEER_SIZE);
  store<u32>(free, 1, PEER_USED);
  store<u32>(free, link, PEER_ON);
  store<u32>(free, family, PEER_FAMILY);
  store<u64>(free, low, PEER_ADDRESS);
  store<u64>(free, high, PEER_ADDRESS + 8);
  store<u32>(free, load<u32>(receiver, RECEIVER_WINDOW_SIZE), PEER_WINDOW);
  // The only one on another link is most likely the one known already. Its tail will tell.
  const owner = known != 0 && alone ? load<u32>(known, PEER_OF) : entryIndex(receiver, free);
  store<u32>(free, owner, PEER_OF);
  store<u32>(free, entryIndex(receiver, free), PEER_PLACE);
  store<u32>(receiver, <u32>free, RECEIVER_CURRENT);
  act(receiver, ACTION_NEW_PEER, 0, 0, 0);
  return true;
}

// @ts-ignore: decorator
@inline
function isSender(entry: usize, link: u32, family: u32, low: u64, high: u64): bool {
  return (
    load<u64>(entry, PEER_ADDRESS) == low &&
    load<u64>(entry, PEER_ADDRESS + 8) == high &&
    load<u32>(entry, PEER_ON) == link &&
    load<u32>(entry, PEER_FAMILY) == family &&
    load<u32>(entry, PEER_USED) == 1
  );
}

/** One datagram: a plain run of messages. */
export function receiveDatagram(receiver: usize, datagram: usize, length: u32): void {
  bump(receiver + RECEIVER_DATAGRAMS);
  store<u64>(receiver, load<u64>(receiver, RECEIVER_BYTES) + <u64>length, RECEIVER_BYTES);
  const mode = load<u32>(receiver, RECEIVER_MODE);
  let at = datagram;
  let remain = length;
  while (remain > 0) {
    const size = frameLength(at, remain);
    if (size < 0) {
      refuse(receiver, size == FRAME_TRUNCATED ? RECEIVER_TRUNCATED : RECEIVER_BAD_SIZE);
      return;
    }
    if (frameVersion(at) != FRAME_VERSION) refuse(receiver, RECEIVER_BAD_VERSION);
    else if (mode == MODE_FTFW) receiveTracked(receiver, at);
    else if (mode == MODE_ALARM) receiveAlarm(receiver, at);
    else receiveUntracked(receiver, at);
    at += <usize>size;
    remain -= <u32>size;
  }
}

/** FTFW: every number is accounted for. */
function receiveTracked(receiver: usize, message: usize): void {
  const peer = currentPeer(receiver);
  const flags = frameFlags(message);
  const sequence = <u32>frameSeq(message);
  const windowSize = load<u32>(receiver, RECEIVER_WINDOW_SIZE);
  if (flags & FLAG_HELLO_BACK) act(receiver, ACTION_GOT_HELLO_BACK, 0, 0, message);
  if (flags & FLAG_HELLO) {
    // The peer started anew: its number counts, whatever it is.
    act(receiver, ACTION_GOT_HELLO, 0, 0, message);
    if (
      load<u32>(peer, PEER_ACK_FROM_SET) &&
      <i32>(sequence - load<u32>(peer, PEER_ACK_FROM)) < 0
    ) {
      store<u32>(peer, max<u32>(windowSize - 1, 1), PEER_WINDOW);
      store<u32>(peer, sequence, PEER_ACK_FROM);
    }
  } else if (load<u32>(peer, PEER_SET)) {
    const expected = load<u32>(peer, PEER_LAST) + 1;
    const ahead = <i32>(sequence - expected);
    if (ahead < 0) {
      bump(receiver + RECEIVER_BEFORE);
      return;
    }
    if (ahead > 0) {
      receiveAfterGap(receiver, peer, message, sequence, expected, windowSize);
      return;
    }
  }
  if (!digest(receiver, message)) return;
  if (!load<u32>(peer, PEER_ACK_FROM_SET)) {
    store<u32>(peer, sequence, PEER_ACK_FROM);
    store<u32>(peer, 1, PEER_ACK_FROM_SET);
  }
  const window = load<u32>(peer, PEER_WINDOW) - 1;
  if (<i32>window <= 0) {
    act(receiver, ACTION_SEND_ACK, load<u32>(peer, PEER_ACK_FROM), sequence, 0);
    store<u32>(peer, windowSize, PEER_WINDOW);
    store<u32>(peer, 0, PEER_ACK_FROM_SET);
  } else {
    store<u32>(peer, window, PEER_WINDOW);
  }
  accept(receiver, peer, sequence);
}

/** Numbers expected … sequence - 1 are missing: what came before is acknowledged, they are not. */
function receiveAfterGap(
  receiver: usize,
  peer: usize,
  message: usize,
  sequence: u32,
  expected: u32,
  windowSize: u32,
): void {
  if (!digest(receiver, message)) return;
  lose(receiver, peer, sequence - expected);
  if (load<u32>(peer, PEER_ACK_FROM_SET)) {
    act(receiver, ACTION_SEND_ACK, load<u32>(peer, PEER_ACK_FROM), expected - 1, 0);
  }
  act(receiver, ACTION_SEND_NACK, expected, sequence - 1, 0);
  store<u32>(peer, max<u32>(windowSize - 1, 1), PEER_WINDOW);
  store<u32>(peer, sequence, PEER_ACK_FROM);
  store<u32>(peer, 1, PEER_ACK_FROM_SET);
  accept(receiver, peer, sequence);
}

function lose(receiver: usize, peer: usize, count: u32): void {
  const all = receiver + RECEIVER_LOST;
  store<u64>(all, load<u64>(all) + <u64>count);
  const its = peer + PEER_LOST;
  store<u64>(its, load<u64>(its) + <u64>count);
}

function accept(receiver: usize, peer: usize, sequence: u32): void {
  if (!load<u32>(peer, PEER_SET)) store<u32>(peer, sequence, PEER_FIRST);
  store<u32>(peer, sequence, PEER_LAST);
  store<u32>(peer, 1, PEER_SET);
  bump(receiver + RECEIVER_ACCEPTED);
  bump(peer + PEER_ACCEPTED);
}

/** NOTRACK: numbers are only counted. ACK and NACK have no business here. */
function receiveUntracked(receiver: usize, message: usize): void {
  const kind = frameKind(message);
  if (kind == KIND_ACK || kind == KIND_NACK) {
    refuse(receiver, RECEIVER_BAD_HEADER);
    return;
  }
  if (!digest(receiver, message)) return;
  const sequence = <u32>frameSeq(message);
  const peer = currentPeer(receiver);
  if (load<u32>(peer, PEER_SET)) {
    const expected = load<u32>(peer, PEER_LAST) + 1;
    const ahead = <i32>(sequence - expected);
    if (ahead > 0) lose(receiver, peer, sequence - expected);
    else if (ahead < 0) bump(receiver + RECEIVER_BEFORE);
  }
  accept(receiver, peer, sequence);
}

/** ALARM: no control messages, no numbers. Whatever carries a flag is of another mode. */
function receiveAlarm(receiver: usize, message: usize): void {
  if (frameFlags(message) != 0) return;
  const type = frameType(message);
  if (type > MSG_EXP_DEL) {
    refuse(receiver, RECEIVER_BAD_TYPE);
    return;
  }
  if (type <= MSG_CT_DEL) listMessage(receiver, RECEIVER_FLOWS, RECEIVER_FLOW_COUNT, message);
  else listMessage(receiver, RECEIVER_EXPECTS, RECEIVER_EXPECT_COUNT, message);
  bump(receiver + RECEIVER_ACCEPTED);
  bump(currentPeer(receiver) + PEER_ACCEPTED);
}

/** Hands a message on by its kind; false when it is of no known kind (counted, number not taken). */
function digest(receiver: usize, message: usize): bool {
  const kind = frameKind(message);
  if (kind == KIND_BAD) {
    refuse(receiver, RECEIVER_BAD_HEADER);
    return false;
  }
  if (kind == KIND_FLOW) {
    listMessage(receiver, RECEIVER_FLOWS, RECEIVER_FLOW_COUNT, message);
    // Its number is accounted for: the shards learn there whose word it is.
    if (load<u32>(receiver, RECEIVER_NAMES)) {
      const sender = <usize>load<u32>(receiver, RECEIVER_CURRENT);
      store<u32>(message, load<u32>(sender, PEER_PLACE), MESSAGE_PLACE);
    }
  } else if (kind == KIND_EXPECT) {
    listMessage(receiver, RECEIVER_EXPECTS, RECEIVER_EXPECT_COUNT, message);
  } else if (kind == KIND_ACK) {
    act(receiver, ACTION_GOT_ACK, <u32>frameFrom(message), <u32>frameTo(message), message);
  } else if (kind == KIND_NACK) {
    act(receiver, ACTION_GOT_NACK, <u32>frameFrom(message), <u32>frameTo(message), message);
  } else if (kind == KIND_RESYNC) {
    act(receiver, ACTION_GOT_RESYNC, 0, 0, message);
  } else if (hasTail(message)) {
    // What was listed before it comes first.
    act(receiver, ACTION_GOT_ALIVE, load<u32>(receiver, RECEIVER_FLOW_COUNT), 0, message);
  }
  return true;
}

/** Is there more in an ALIVE than its header? */
// @ts-ignore: decorator
@inline
function hasTail(message: usize): bool {
  return <u32>frameLength(message, DATAGRAM_MAX) > SMALLEST_MESSAGE;
}

/** The 1 s tick: what to acknowledge now of peer `index`, as an action; 0 when there is nothing. */
export function receiverTick(receiver: usize, index: u32): u32 {
  const peer = entryOf(receiver, index);
  if (load<u32>(peer, PEER_OF) != index) return 0; // its numbers are another's
  store<u32>(receiver, <u32>peer, RECEIVER_CURRENT);
  if (!load<u32>(peer, PEER_ACK_FROM_SET) || !load<u32>(peer, PEER_SET)) return 0;
  act(
    receiver,
    ACTION_SEND_ACK,
    load<u32>(peer, PEER_ACK_FROM),
    load<u32>(peer, PEER_LAST),
    0,
  );
  store<u32>(peer, 0, PEER_ACK_FROM_SET);
  return 1;
}
