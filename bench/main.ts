import { Collector, renderTable } from './figures.js';
import { events } from './lab/events.js';
const collector = new Collector();
await events({ quick: process.argv.includes('--quick'), collector, progress: (t) => console.error(t) });
console.log(renderTable(collector.figures()));
