// A view of `conntrackd -s`: what is shown, apart from how. One value, two forms: the text of the C
// daemon (statistics.ts) and JSON (statistics-json.ts). Pure; nothing is kept, nothing blocks.

import {
  type ComparisonCounters,
  cacheText,
  type GeneralCounters,
  generalText,
  type LinkCounters,
  linksText,
  type NetworkCounters,
  networkText,
  type ProcessEntry,
  processText,
  type QueueCounters,
  queueText,
  type ResendElement,
  type RuntimeCounters,
  resendQueueText,
  runtimeText,
  type TableCounters,
} from './statistics.js';
import { statisticsJson } from './statistics-json.js';

/** A view of `-s` with what it shows. */
export type StatisticsView =
  | { view: 'general'; counters: GeneralCounters }
  | {
      view: 'network';
      counters: NetworkCounters;
      link: LinkCounters | undefined;
      comparison?: ComparisonCounters | undefined;
    }
  | { view: 'cache'; counters: readonly TableCounters[] }
  | { view: 'runtime'; counters: RuntimeCounters }
  | { view: 'link'; counters: readonly LinkCounters[] }
  | { view: 'rsqueue'; counters: readonly ResendElement[] }
  | { view: 'process'; counters: readonly ProcessEntry[] }
  | { view: 'queue'; counters: readonly QueueCounters[] };

/** The view as it goes to a client, newline included. */
export function viewReply(shown: StatisticsView, json: boolean): string {
  return json ? `${statisticsJson(shown)}\n` : viewText(shown);
}

function viewText(shown: StatisticsView): string {
  switch (shown.view) {
    case 'general':
      return generalText(shown.counters);
    case 'network':
      return networkText(shown.counters, shown.link, shown.comparison);
    case 'cache':
      return cacheText(shown.counters);
    case 'runtime':
      return runtimeText(shown.counters);
    case 'link':
      return linksText(shown.counters);
    case 'rsqueue':
      return resendQueueText(shown.counters);
    case 'process':
      return processText(shown.counters);
    case 'queue': {
      const nodes = shown.counters.reduce((sum, { elements }) => sum + Number(elements), 0);
      return queueText(nodes, shown.counters);
    }
  }
}
