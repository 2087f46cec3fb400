// The orders of a fail-over that answer with more than silence: commit, promote, demote. Text lines
// or one JSON object go to the client; a C client sees of `-c` what it always saw, nothing.

import { AS_JSON, CommandError, Request } from '../control/protocol.js';
import type { Reply } from '../control/server.js';
import { commitExpectations } from './expect-orders.js';
import type { OrderParts } from './orders.js';
import {
  type Committed,
  commitJson,
  commitSummaries,
  commitSummary,
  demote,
  demotionJson,
  promote,
  promotionJson,
} from './promotion.js';

/** Carries out a commit, promote or demote; resolves to the message of the status. */
export async function takeOver(parts: OrderParts, code: number, reply: Reply): Promise<string> {
  const json = (code & AS_JSON) !== 0;
  switch (code & ~AS_JSON) {
    case Request.PROMOTE:
      return promoteNode(parts, reply, json);
    case Request.DEMOTE:
      return demoteNode(parts, reply, json);
    default:
      return commit(parts, code & ~AS_JSON, reply, json);
  }
}

const COMMITTING: Readonly<Record<number, string>> = {
  [Request.COMMIT]: 'committing all external caches',
  [Request.COMMIT_FLOWS]: 'committing conntrack cache',
  [Request.COMMIT_EXPECT]: 'committing expectation cache',
};

/** `-c`, `-c ct`, `-c expect`: flows, expectations, or one after the other. */
async function commit(
  { node, log }: OrderParts,
  code: number,
  reply: Reply,
  json: boolean,
): Promise<string> {
  log.notice(COMMITTING[code]!);
  const committed: Committed = {};
  if (code !== Request.COMMIT_EXPECT) {
    committed.flows = await node.commit();
    if (committed.flows === undefined) throw new CommandError('commit already in progress');
  }
  if (code !== Request.COMMIT_FLOWS) committed.expectations = await commitExpectations(node);
  if (!json) return commitSummaries(committed);
  await reply.write(`${commitJson(committed)}\n`);
  return '';
}

async function promoteNode(
  { node, log, mode }: OrderParts,
  reply: Reply,
  json: boolean,
): Promise<string> {
  log.notice('promote: this node becomes the active one');
  const say = async (line: string): Promise<void> => {
    if (!json) await reply.write(`${line}\n`);
  };
  const promotion = await promote({ node, log }, isAlarm(mode), say);
  if (json) await reply.write(`${promotionJson(promotion)}\n`);
  const { commit, milliseconds } = promotion;
  log.notice(`promoted in ${milliseconds.total.toFixed(1)} ms: ${commitSummary(commit)}`);
  if (commit.failed > 0) {
    throw new CommandError(`promoted, but ${commit.failed} flows could not enter the kernel`);
  }
  return json ? '' : `promoted in ${milliseconds.total.toFixed(1)} ms`;
}

async function demoteNode(
  { node, log, mode }: OrderParts,
  reply: Reply,
  json: boolean,
): Promise<string> {
  log.notice('demote: this node becomes the backup');
  const demotion = await demote(node, node.purgeTimeout, isAlarm(mode));
  const { flows, heard, milliseconds, purge, quiet } = demotion;
  if (json) {
    await reply.write(`${demotionJson(demotion)}\n`);
  } else {
    const standing = quiet ? 'peers quiet' : 'still arriving';
    await reply.write(`purge: the kernel's flows go within ${purge} s\n`);
    await reply.write(
      `resync: ${flows} flows in the external cache, ${standing}, ${milliseconds.toFixed(1)} ms\n`,
    );
  }
  if (!heard && !isAlarm(mode)) throw new CommandError('no word from a peer: nothing was resynced');
  if (!quiet) throw new CommandError('the flows of the peers are still arriving');
  return json ? '' : `demoted in ${milliseconds.toFixed(1)} ms`;
}

function isAlarm(mode: OrderParts['mode']): boolean {
  return mode.kind === 'sync' && mode.replication === 'alarm';
}
