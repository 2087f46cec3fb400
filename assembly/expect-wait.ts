// Expectations that were announced before their master was.
//
// A helper reads a packet before the packet's flow is confirmed (nf_conntrack_helper runs in front of
// nf_conntrack_confirm), and the kernel tells of a flow when it is confirmed. So what the first packet
// of a flow announces, a SIP INVITE or a TFTP request, comes before its master's NEW. Mostly both are
// in one batch, and flows go first there (src/daemon/dataplane.ts). When a batch ends between the two,
// the expectation waits here until the flows of a later batch bring its master; a helper in user space
// may take a moment for it. One whose master has not come in WAIT seconds belongs to a flow that the
// filter keeps away, and is counted as filtered.
//
// Same thread as the shard. Without anyone waiting it costs a batch one load.

import {
  SHARD_EXPECT_WAITERS,
  SHARD_EXPECT_WAITING,
  WAITER_EXPECT,
  WAITER_FRESH,
  WAITER_REPLICATE,
  WAITER_SIZE,
  WAITER_STAMP,
  WAITERS_MAX,
} from './expect-layout';
import { changeExpect, hasMaster } from './expect-shard';
import { sameExpect } from './expect-table';
import { CONTROL_NOW, EXPECT_SIZE, SHARD_FILTERED } from './layout';
import { bump } from './table';

const WAIT: u32 = 2; // s

// @ts-ignore: decorator
@inline
function waiterAt(shard: usize, i: u32): usize {
  return <usize>load<u32>(shard, SHARD_EXPECT_WAITERS) + <usize>i * WAITER_SIZE;
}

/** Keeps the NEW (`fresh`) or update at `expect` until its master comes. The eldest makes room. */
export function awaitMaster(shard: usize, expect: usize, fresh: bool, replicate: bool): void {
  if (load<u32>(shard, SHARD_EXPECT_WAITING) == WAITERS_MAX) giveUp(shard, 0);
  const waiting = load<u32>(shard, SHARD_EXPECT_WAITING);
  const waiter = waiterAt(shard, waiting);
  store<u32>(waiter, load<u32>(CONTROL_NOW), WAITER_STAMP);
  store<u8>(waiter, fresh ? 1 : 0, WAITER_FRESH);
  store<u8>(waiter, replicate ? 1 : 0, WAITER_REPLICATE);
  memory.copy(waiter + WAITER_EXPECT, expect, EXPECT_SIZE);
  store<u32>(shard, waiting + 1, SHARD_EXPECT_WAITING);
}

/** Flows have come: whose master is among them is followed from now on, in the order of the events. */
export function serveWaiters(shard: usize): void {
  for (let i: u32 = 0; i < load<u32>(shard, SHARD_EXPECT_WAITING); ) {
    const waiter = waiterAt(shard, i);
    const expect = waiter + WAITER_EXPECT;
    if (hasMaster(shard, expect)) {
      changeExpect(
        shard, expect, load<u8>(waiter, WAITER_FRESH) != 0, load<u8>(waiter, WAITER_REPLICATE) != 0,
      );
      remove(shard, i);
    } else if (load<u32>(CONTROL_NOW) - load<u32>(waiter, WAITER_STAMP) > WAIT) {
      giveUp(shard, i);
    } else i++;
  }
}

/** The kernel has ended the expectation at `expect`: it waits no more. */
export function endWaiter(shard: usize, expect: usize): void {
  for (let i: u32 = 0; i < load<u32>(shard, SHARD_EXPECT_WAITING); ) {
    if (sameExpect(waiterAt(shard, i) + WAITER_EXPECT, expect)) giveUp(shard, i);
    else i++;
  }
}

function giveUp(shard: usize, i: u32): void {
  bump(shard + SHARD_FILTERED);
  remove(shard, i);
}

function remove(shard: usize, i: u32): void {
  const left = load<u32>(shard, SHARD_EXPECT_WAITING) - 1;
  memory.copy(waiterAt(shard, i), waiterAt(shard, i + 1), <usize>(left - i) * WAITER_SIZE);
  store<u32>(shard, left, SHARD_EXPECT_WAITING);
}
