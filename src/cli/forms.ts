// The forms of a flow that are not plain lines: XML, JSON, arguments, calendar times, colours and
// columns. A form is a function from a flow to its text, chosen once for a command. Loaded only when
// one of them is asked for.

import { flowText, labelNames } from '../report/flow.js';
import { flowJson } from '../report/json.js';
import type { EventKind, LabelMap } from '../report/names.js';
import type { FlowReader } from '../report/reader.js';
import { flowSave } from '../report/save.js';
import { flowXml } from '../report/xml.js';
import { decorator } from './decorate.js';
import {
  OUT_ALIGN,
  OUT_COLOR,
  OUT_EXTENDED,
  OUT_ID,
  OUT_JSON,
  OUT_KTIMESTAMP,
  OUT_SAVE,
  OUT_WHOLE,
  OUT_XML,
} from './values.js';

/** The text of a flow, without a newline. `now` in seconds, `time` (ns) that of the event. */
export type Form = (
  flow: FlowReader,
  event: EventKind | undefined,
  now: number,
  time: bigint | undefined,
) => string;

/** The form that these output bits ask for. */
export function formOf(
  output: number,
  labels: LabelMap | undefined,
  saved: EventKind | undefined,
): Form {
  const ktimestamp = (output & OUT_KTIMESTAMP) !== 0;
  if (output & OUT_XML) {
    return (flow, event, now, time) => {
      const when = time === undefined ? undefined : new Date(Number(time / 1_000_000n));
      return flowXml(flow, { event, ktimestamp, labels, when, now });
    };
  }
  if (output & OUT_JSON) {
    // A dump carries the port of its reader: that tells nothing.
    return (flow, event, now) =>
      flowJson(flow, { event, portid: event !== undefined, labels, now });
  }
  if (output & OUT_SAVE) {
    const whole = output & OUT_WHOLE ? { labels } : undefined;
    return (flow, event) => flowSave(flow, event ?? saved, whole);
  }
  const decorate = decorator((output & OUT_COLOR) !== 0, (output & OUT_ALIGN) !== 0);
  const layer3 = (output & OUT_EXTENDED) !== 0;
  const id = (output & OUT_ID) !== 0;
  return (flow, event, now) => {
    const line = flowText(flow, { event, layer3, id, ktimestamp, labels, now });
    return decorate === undefined ? line : decorate(line);
  };
}

/** ` labels=...` of a flow that has labels. */
export function labelField(map: LabelMap): (flow: FlowReader) => string {
  return (flow) => {
    const names = labelNames(flow, map);
    return names.length > 0 ? ` labels=${names.join(',')}` : ' labels';
  };
}
