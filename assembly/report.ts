// The flow log's feed (Stats mode): flows that ended, copied as wide forms into a ring that main
// empties. One producer, the shard's thread; one consumer, main; so two positions suffice.
//
//   tail ── written by main        head ── written by the shard
//   flows tail … head - 1 (mod REPORT_SLOTS) wait to be logged
//
// The ring is bounded: an event that finds it full is counted, and its flow is not logged. A sweep
// can wait and does (reportRoom).

import {
  FLOW_SIZE,
  REPORT_SLOTS,
  SHARD_OPTIONS,
  SHARD_REPORT,
  SHARD_REPORT_HEAD,
  SHARD_REPORT_LOST,
  SHARD_REPORT_RING,
  SHARD_REPORT_TAIL,
} from './layout';
import { unpackFlow } from './record';
import { bump } from './table';

/** Does this shard report, and is there room for one more flow? True when it does not report. */
export function reportRoom(shard: usize): bool {
  if (!(load<u32>(shard, SHARD_OPTIONS) & SHARD_REPORT)) return true;
  return waiting(shard) < <u32>REPORT_SLOTS;
}

/** Reports the end of the flow at `flow`, with what its last event told. */
export function reportFlow(shard: usize, flow: usize): void {
  const slot = nextSlot(shard);
  if (slot == 0) return;
  memory.copy(slot, flow, FLOW_SIZE);
  publish(shard);
}

/** Reports the end of a cached flow that nobody announced. */
export function reportRecord(shard: usize, record: usize): void {
  const slot = nextSlot(shard);
  if (slot == 0) return;
  unpackFlow(record, slot);
  publish(shard);
}

function waiting(shard: usize): u32 {
  return (
    load<u32>(shard, SHARD_REPORT_HEAD) - atomic.load<u32>(shard, SHARD_REPORT_TAIL)
  );
}

/** Where the next flow goes; 0 when nothing is reported, or counted as lost. */
function nextSlot(shard: usize): usize {
  if (!(load<u32>(shard, SHARD_OPTIONS) & SHARD_REPORT)) return 0;
  if (waiting(shard) >= <u32>REPORT_SLOTS) {
    bump(shard + SHARD_REPORT_LOST);
    return 0;
  }
  const at = load<u32>(shard, SHARD_REPORT_HEAD) & <u32>(REPORT_SLOTS - 1);
  return <usize>load<u32>(shard, SHARD_REPORT_RING) + <usize>at * FLOW_SIZE;
}

/** The flow is written: main may see it. */
function publish(shard: usize): void {
  atomic.store<u32>(shard, load<u32>(shard, SHARD_REPORT_HEAD) + 1, SHARD_REPORT_HEAD);
}
