// The statistics of the daemon as JSON (`conntrackd -s ... -o json`): one object a view, names that do
// not change (docs/json.md), which are those of the counters in statistics.ts: who renames one there
// breaks somebody's script. Plain objects in, text out; nothing is kept and nothing blocks.

import { type Fields, jsonText } from './json.js';
import type {
  GeneralCounters,
  LinkCounters,
  NetworkCounters,
  RuntimeCounters,
  TableCounters,
} from './statistics.js';
import type { StatisticsView } from './views.js';

/** The view's object as text, without a newline. */
export function statisticsJson(shown: StatisticsView): string {
  return jsonText({ view: shown.view, ...fieldsOf(shown) });
}

function fieldsOf(shown: StatisticsView): Fields {
  switch (shown.view) {
    case 'general':
      return generalFields(shown.counters);
    case 'network':
      return {
        ...networkFields(shown.counters, shown.link),
        comparison: shown.comparison && named(shown.comparison),
      };
    case 'cache':
      return { caches: shown.counters.map(tableFields) };
    case 'runtime':
      return runtimeFields(shown.counters);
    case 'link':
      return { links: shown.counters.map(named) };
    case 'rsqueue':
      return { length: shown.counters.length, elements: shown.counters.map(named) };
    case 'process':
      return { children: shown.counters.map(named) };
    case 'queue':
      return { queues: shown.counters.map(named) };
  }
}

function generalFields({ tables, traffic, link, tracking }: GeneralCounters): Fields {
  return {
    caches: tables.map(tableFields),
    traffic: named(traffic),
    link: link && named(link),
    messages: tracking && { malformed: tracking.malformed, lost: tracking.lost },
  };
}

/** The two that stand in the place of a cache are called by that cache's name. */
function tableFields(table: TableCounters): Fields {
  if (table.kind === 'cache') return named(table);
  const { kind, ...counters } = table;
  return { kind, name: kind === 'bypass' ? 'internal' : 'external', ...named(counters) };
}

function networkFields(network: NetworkCounters, link: LinkCounters | undefined): Fields {
  const { sendMalformed, lost, before, ...received } = network;
  return {
    received: named(received),
    sent: { malformed: sendMalformed },
    sequence: { lost, before },
    link: link && named(link),
  };
}

function runtimeFields(runtime: RuntimeCounters): Fields {
  return {
    uptime: runtime.uptime,
    events: {
      received: runtime.eventsReceived,
      filtered: runtime.eventsFiltered,
      unknown: runtime.eventsUnknown,
      failed: runtime.catchFailed,
      cut: runtime.eventsCut,
      overruns: runtime.overruns,
      bufferSize: runtime.bufferSize,
    },
    kernel: {
      dumpUnknown: runtime.dumpUnknown,
      flushes: runtime.flushes,
      resyncs: runtime.resyncs,
    },
    control: { readFailed: runtime.localReadFailed, unknown: runtime.localUnknown },
  };
}

/** The counters as they are: their names in the code are those of the JSON. */
function named(counters: object): Fields {
  return { ...counters } as Fields;
}
