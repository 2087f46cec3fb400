// -D and -U: goes through the table and deletes or changes what is selected, while the dump runs. The
// kernel allows that: the dump goes on behind the entries it has shown.
//
// Deleting is batched: the selected flows of one datagram are one send. Each request names the flow by
// tuple and id, so a flow that was replaced meanwhile is safe. Updating goes one by one, because the
// first refusal must be the last thing done.

import { constants } from 'node:os';
import { HAS_LABELS, HAS_TIMEOUT } from '../../assembly/layout.js';
import type { FlowReader } from '../report/reader.js';
import { type Change, encodeDelete, encodeUpdate } from './encode.js';
import { FLOW, FlowKernel } from './flow-kernel.js';
import { attempting, Kernel, KernelError, REQUESTS } from './kernel.js';
import { wholeWords } from './labels.js';
import { eachFlow } from './list.js';
import { MESSAGE_MAX } from './message.js';
import { FlowPrinter } from './output.js';
import { P } from './protocols.js';
import type { Request } from './request.js';
import { Sink } from './sink.js';
import { IPS_CONFIRMED } from './values.js';

const { ENOENT, ENOSPC } = constants.errno;
/** A datagram of a dump holds no more flows. */
const BATCH = 512;

/** -D; returns the number of flows deleted. */
export async function deleteFlows(kernel: FlowKernel, request: Request): Promise<number> {
  // Requests are sent while a dump is under way, so they need a socket of their own.
  const deletions = new Kernel(REQUESTS / 65536 + Math.ceil((BATCH * MESSAGE_MAX) / 65536));
  const printer = await FlowPrinter.make(kernel, new Sink(kernel), request, {
    labels: false,
    saved: 'destroy',
  });
  const flow = kernel.flow();
  const entries: number[] = [];
  let at = REQUESTS;
  let count = 0;
  const now = Math.trunc(Date.now() / 1000);
  const flush = () => {
    if (entries.length === 0) return;
    const gone = sendDeletions(deletions, at, entries.length);
    for (const [i, entry] of entries.entries()) {
      if (gone.has(i)) continue;
      kernel.core.decodeFlow(entry, kernel.view.getUint32(entry, true), FLOW);
      printer.print(now);
      count++;
    }
    entries.length = 0;
    at = REQUESTS;
  };
  try {
    attempting('delete', false, () =>
      eachFlow(
        kernel,
        request,
        (message) => {
          at += encodeDelete(deletions.message, at, flow, true, entries.length);
          entries.push(message);
        },
        flush,
      ),
    );
  } finally {
    printer.close();
    deletions.close();
  }
  return count;
}

/** Sends the batch; positions of the flows that had vanished before. */
function sendDeletions(kernel: Kernel, end: number, count: number): Set<number> {
  const gone = new Set<number>();
  let refused = 0;
  kernel.transact(REQUESTS, end - REQUESTS, 0, (position, error) => {
    if (position >= count || error === 0) return;
    if (error === ENOENT) gone.add(position);
    else refused ||= error;
  });
  if (refused !== 0) throw new KernelError(refused);
  return gone;
}

/** -U; returns the number of flows changed. */
export async function updateFlows(kernel: FlowKernel, request: Request): Promise<number> {
  const changes = new FlowKernel();
  const printer = await FlowPrinter.make(changes, new Sink(changes), request, {});
  const flow = kernel.flow();
  const now = Math.trunc(Date.now() / 1000);
  let count = 0;
  try {
    attempting('update', false, () =>
      eachFlow(kernel, request, () => {
        const change = changeOf(request, flow);
        if (change === undefined || !applyChange(changes, request, flow, change)) return;
        printer.print(now);
        count++;
      }),
    );
  } finally {
    printer.close();
    changes.close();
  }
  return count;
}

/** Changes one flow and reads it back to FLOW of `kernel`; false if it vanished meanwhile. */
function applyChange(
  kernel: FlowKernel,
  request: Request,
  flow: FlowReader,
  change: Change,
): boolean {
  const { message, core } = kernel;
  let shown = false;
  try {
    const sequence = kernel.takeSequence(2);
    const length = encodeUpdate(message, REQUESTS, request, flow, change, false, sequence);
    kernel.ask(REQUESTS, length, sequence);
    const get = encodeUpdate(message, REQUESTS, request, flow, change, true, sequence + 1);
    kernel.ask(REQUESTS, get, sequence + 1, (at, size) => {
      shown = core.decodeFlow(at, size, FLOW) === 0;
    });
  } catch (error) {
    // Vanished, or made when no rule used labels: it has no room for them.
    const skipped = error instanceof KernelError && [ENOENT, ENOSPC].includes(error.errno);
    if (!skipped) throw error;
    return false;
  }
  return shown;
}

/** What is to change of this flow; undefined if it is so already. */
export function changeOf(request: Request, flow: FlowReader): Change | undefined {
  const change: Change = {
    status: undefined,
    timeout: undefined,
    mark: undefined,
    labels: undefined,
    labelsMask: undefined,
  };
  let differs = request.has('label-add') || request.has('label-del');
  if (request.has('mark')) {
    const { value, mask } = request.mark;
    change.mark = mask === undefined ? value : ((flow.mark & ~mask) ^ value) >>> 0;
    differs ||= change.mark !== flow.mark;
  }
  if (request.has('status')) {
    const wanted = (flow.status | request.status.set | IPS_CONFIRMED) & UPDATABLE;
    change.status = wanted;
    differs ||= (request.status.set & ~flow.status) !== 0;
  }
  if (request.has('timeout')) {
    change.timeout = request.timeout;
    differs ||= !flow.has(HAS_TIMEOUT) || flow.timeout !== request.timeout;
  }
  if (request.places & (1 << P.state)) differs ||= flow.state !== request.values[P.state];
  if (!differs) return undefined;
  changeLabels(request, flow, change);
  return change;
}

/** The bits of enum ip_conntrack_status that are sent back. */
const UPDATABLE = 0xffff;

function changeLabels(request: Request, flow: FlowReader, change: Change): void {
  const { labelAdd, labelDel } = request;
  const old = flow.has(HAS_LABELS) ? flow.labelBytes : undefined;
  if (labelAdd !== undefined) {
    if (old === undefined) {
      change.labels = wholeWords(labelAdd);
    } else {
      change.labels = labelAdd;
      change.labelsMask = labelAdd;
    }
  } else if (labelDel !== undefined) {
    change.labels = (old ?? new Uint8Array(16)).map((byte, i) => byte & ~labelDel[i]!);
  } else if (request.has('label-del')) {
    change.labels = new Uint8Array(4);
  }
}
