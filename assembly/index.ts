// The exports of the module, station by station. Only what a thread's TypeScript calls.

// codecs
export { decodeFlow, decodeFlowGeneric, encodeRequest, natFromReply, peekTuple } from './ctnetlink';
export { decodeExpect, encodeExpectRequest } from './expect';
export { frameKind, frameLength, frameLengthStream } from './framing';
export {
  decodeSync,
  decodeSyncExpect,
  decodeSyncGeneric,
  encodeSync,
  encodeSyncExpect,
  peekSync,
} from './sync';

// main: batches in, datagrams out
export { gatherBatch, gatherDatagram, routeFlows, routeMessages, routeRecords } from './batch';
export { receiveBatch, receiveDatagram, receiverTick } from './receiver';
export {
  senderAcknowledged,
  senderControl,
  senderControlAgain,
  senderForget,
  senderMissed,
  senderPeers,
  senderStamp,
} from './sender';

export { deleteRequests } from './flush';

// shards
export {
  shardBulk,
  shardCommit,
  shardCommitAgain,
  shardDump,
  shardDumpBegin,
  shardDumpEnd,
  shardEvents,
  shardFlush,
  shardMessages,
  shardPump,
  shardQueued,
  shardReap,
  shardRequeue,
  shardSnapshot,
  snapshotRecord,
} from './shard';

// digests of tables, and their repair
export { shardDoubt, shardRemoveDoubted, shardSayAgain, shardTrust } from './digest';
export { shardSpeakers } from './shares';

// shards in ALARM mode
export { shardExpire, shardRefresh } from './alarm';

// expectations
export {
  deleteExpectRequests,
  injectExpectRequests,
  routeExpects,
  shardExpectCommit,
  shardExpectCommitAgain,
  shardExpectDump,
  shardExpectEvents,
  shardExpectExpire,
  shardExpectMessages,
  shardExpectPurge,
  shardExpectRefresh,
  shardExpectSnapshot,
} from './expect-shard';
export { addExpect, findExpect, removeExpect } from './expect-table';

// direct injection
export { injectAgain, injectRequests, shardInjected } from './inject';

// the command line: flows as text, lines as requests
export { flowSaved } from './save';
export { requestsOfLines } from './template';
export { flowLine } from './text';

// for tests and benchmarks: one step at a time
export { filterPasses } from './filter';
export { recordDigest, recordRange } from './digest';
export { foldV6, hashLow } from './hash';
export { keyOfTuple, packFlow, reserveParts, unpackFlow } from './record';
export { addRecord, clearTable, findRecord, removeRecord } from './table';
