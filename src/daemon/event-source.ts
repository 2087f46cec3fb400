// Where a node's events come from, as General says: the event socket with its buffer, its reliability
// and its filter in the kernel, or with PollSecs none at all. Says in the log what is in force.
//
// The node owns what is opened here and closes it. Nothing blocks.

import * as L from '../../assembly/layout.js';
import type { Arena } from '../cache/arena.js';
import type { Config, General } from '../config/index.js';
import { EventSocket, type EventSource, NO_EVENTS } from '../kernel/events.js';
import { compileSocketFilter } from '../kernel/socket-filter.js';
import { errorText } from '../kernel/syscalls.js';
import type { Log } from './log.js';

/**
 * Opens the source of events, with `expectations` those of expectations too; `base` is the address of
 * the arena.
 */
export function openEvents(
  base: number,
  general: General,
  log: Log,
  expectations: boolean,
): EventSource {
  if (general.pollSecs !== undefined) {
    log.notice(`running in polling mode: the kernel's table is read every ${general.pollSecs} s`);
    return NO_EVENTS;
  }
  const { netlinkBufferSize, netlinkBufferSizeMaxGrowth, netlinkEventsReliable } = general;
  const events = new EventSocket(base, {
    bufferSize: netlinkBufferSize,
    bufferMax: netlinkBufferSizeMaxGrowth,
    reliable: netlinkEventsReliable,
    expectations,
  });
  if (netlinkBufferSize !== undefined && netlinkBufferSize <= netlinkBufferSizeMaxGrowth) {
    log.notice(`netlink event socket buffer size has been set to ${events.bufferSize} bytes`);
  } else {
    log.notice(
      'NetlinkBufferSize is either not set or is greater than NetlinkBufferSizeMaxGrowth. ' +
        'Using current system buffer size',
    );
  }
  if (netlinkEventsReliable) log.notice('reliable ctnetlink event delivery is ENABLED.');
  return events;
}

/**
 * Gives the kernel the filter of the configuration (From Kernelspace only) and the port of the
 * injection, whose doings we know without its events. The shards drop the same, so a refusal costs
 * nothing but speed. To be called again when the filter has changed.
 */
export function filterEvents(
  events: EventSource,
  arena: Arena,
  general: General,
  filter: Uint8Array | undefined,
  log: Log,
): void {
  if (events === NO_EVENTS) return;
  const inKernel = general.filter?.from === 'Kernelspace';
  const ports = [arena.get(L.CONTROL_PORT_INJECT)];
  const options = { filter: inKernel ? filter : undefined, ports };
  let { program, addresses } = compileSocketFilter(options);
  let reason = events.filterInKernel(program);
  if (reason !== 0 && addresses) {
    // Older kernels have little room for a program (net.core.optmem_max): the short one may fit.
    ({ program, addresses } = compileSocketFilter({ ...options, addresses: false }));
    reason = events.filterInKernel(program);
  }
  if (reason !== 0) {
    log.error(
      `cannot set event filtering: ${errorText(reason)}: events are filtered in user space`,
    );
    return;
  }
  if (general.filter === undefined) return;
  log.notice(`using ${inKernel ? 'kernel' : 'user'}-space event filtering`);
  if (inKernel && !addresses) {
    log.notice('too many addresses for the kernel: they are filtered in user space');
  }
}

/** EventIterationLimit, if the file has it: events per turn. Otherwise a turn serves what it can. */
export function eventLimit({ general, written }: Config): number | undefined {
  const found = written.some(({ path }) => path === 'General.EventIterationLimit');
  return found && general.eventIterationLimit > 0 ? general.eventIterationLimit : undefined;
}
