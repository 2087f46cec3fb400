// A shard's verbs by number, for the ring between main and a worker. The order is the protocol: main
// and workers run the same build, so it never leaves the process.

import type { Core } from './wasm.js';

/** Runs one verb on the shard at `context` with the arguments at `a` (32-bit words) of `words`. */
type Verb = (core: Core, context: number, words: Uint32Array, a: number) => number;

const events: Verb = (core, context, words, a) => {
  core.shardEvents(context, words[a]!, words[a + 1]!);
  return 0;
};
const dumpBegin: Verb = (core, context) => {
  core.shardDumpBegin(context);
  return 0;
};
const dump: Verb = (core, context, words, a) => {
  core.shardDump(context, words[a]!, words[a + 1]!, words[a + 2]!);
  return 0;
};
const dumpEnd: Verb = (core, context, words, a) =>
  core.shardDumpEnd(context, words[a]!, words[a + 1]!, words[a + 2]!);
const messages: Verb = (core, context, words, a) => {
  core.shardMessages(context, words[a]!, words[a + 1]!, words[a + 2]!);
  return 0;
};
const requeue: Verb = (core, context, words, a) => {
  core.shardRequeue(context, words[a]!, words[a + 1]!);
  return 0;
};
const reap: Verb = (core, context, words, a) => {
  core.shardReap(context, words[a]!, words[a + 1]!);
  return 0;
};
const bulk: Verb = (core, context) => {
  core.shardBulk(context);
  return 0;
};
const flush: Verb = (core, context, words, a) => {
  core.shardFlush(context, words[a]!);
  return 0;
};
const snapshot: Verb = (core, context, words, a) =>
  core.shardSnapshot(context, words[a]!, words[a + 1]!, words[a + 2]!, words[a + 3]!);
const commit: Verb = (core, context, words, a) =>
  core.shardCommit(
    context,
    words[a]!,
    words[a + 1]!,
    words[a + 2]!,
    words[a + 3]!,
    words[a + 4]!,
    words[a + 5]!,
    words[a + 6]!,
    words[a + 7]!,
  );
const commitAgain: Verb = (core, context, words, a) =>
  core.shardCommitAgain(
    context,
    words[a]!,
    words[a + 1]!,
    words[a + 2]!,
    words[a + 3]!,
    words[a + 4]!,
    words[a + 5]!,
  );
const refresh: Verb = (core, context, words, a) =>
  core.shardRefresh(context, words[a]!, words[a + 1]!);
const expire: Verb = (core, context, words, a) =>
  core.shardExpire(context, words[a]!, words[a + 1]!, words[a + 2]!);
const injected: Verb = (core, context, words, a) => {
  core.shardInjected(context, words[a]!, words[a + 1]!, words[a + 2]!);
  return 0;
};
const expectEvents: Verb = (core, context, words, a) => {
  core.shardExpectEvents(context, words[a]!, words[a + 1]!);
  return 0;
};
const expectDump: Verb = (core, context, words, a) => {
  core.shardExpectDump(context, words[a]!, words[a + 1]!, words[a + 2]!, words[a + 3]!);
  return 0;
};
const expectPurge: Verb = (core, context, words, a) => {
  core.shardExpectPurge(context, words[a]!, words[a + 1]!);
  return 0;
};
const expectMessages: Verb = (core, context, words, a) => {
  core.shardExpectMessages(context, words[a]!, words[a + 1]!);
  return 0;
};
const expectCommit: Verb = (core, context, words, a) =>
  core.shardExpectCommit(
    context,
    words[a]!,
    words[a + 1]!,
    words[a + 2]!,
    words[a + 3]!,
    words[a + 4]!,
    words[a + 5]!,
    words[a + 6]!,
  );
const expectCommitAgain: Verb = (core, context, words, a) =>
  core.shardExpectCommitAgain(
    context,
    words[a]!,
    words[a + 1]!,
    words[a + 2]!,
    words[a + 3]!,
    words[a + 4]!,
    words[a + 5]!,
  );
const expectSnapshot: Verb = (core, context, words, a) =>
  core.shardExpectSnapshot(context, words[a]!, words[a + 1]!, words[a + 2]!, words[a + 3]!);
const expectRefresh: Verb = (core, context) => {
  core.shardExpectRefresh(context);
  return 0;
};
const expectExpire: Verb = (core, context, words, a) => {
  core.shardExpectExpire(context, words[a]!);
  return 0;
};
const sayAgain: Verb = (core, context, words, a) =>
  core.shardSayAgain(context, words[a]!, words[a + 1]!, words[a + 2]!, words[a + 3]!);
const doubt: Verb = (core, context, words, a) =>
  core.shardDoubt(context, words[a]!, words[a + 1]!, words[a + 2]!, words[a + 3]!);
const trust: Verb = (core, context, words, a) => core.shardTrust(context, words[a]!, words[a + 1]!);
const speakers: Verb = (core, context, words, a) =>
  core.shardSpeakers(context, words[a]!, words[a + 1]!, words[a + 2]!, words[a + 3]!);
const removeDoubted: Verb = (core, context, words, a) =>
  core.shardRemoveDoubted(context, words[a]!, words[a + 1]!, words[a + 2]!);
/** Does nothing: makes a worker look at its transmit queue again. */
const pump: Verb = () => 0;

export const VERBS = [
  pump,
  events,
  messages,
  dumpBegin,
  dump,
  dumpEnd,
  requeue,
  reap,
  bulk,
  flush,
  snapshot,
  commit,
  commitAgain,
  refresh,
  expire,
  injected,
  expectEvents,
  expectDump,
  expectPurge,
  expectMessages,
  expectCommit,
  expectCommitAgain,
  expectSnapshot,
  expectRefresh,
  expectExpire,
  sayAgain,
  doubt,
  removeDoubted,
  trust,
  speakers,
] as const;

export const VERB = {
  pump: 0,
  events: 1,
  messages: 2,
  dumpBegin: 3,
  dump: 4,
  dumpEnd: 5,
  requeue: 6,
  reap: 7,
  bulk: 8,
  flush: 9,
  snapshot: 10,
  commit: 11,
  commitAgain: 12,
  refresh: 13,
  expire: 14,
  injected: 15,
  expectEvents: 16,
  expectDump: 17,
  expectPurge: 18,
  expectMessages: 19,
  expectCommit: 20,
  expectCommitAgain: 21,
  expectSnapshot: 22,
  expectRefresh: 23,
  expectExpire: 24,
  sayAgain: 25,
  doubt: 26,
  removeDoubted: 27,
  trust: 28,
  speakers: 29,
} as const;
export type VERB = (typeof VERB)[keyof typeof VERB];
