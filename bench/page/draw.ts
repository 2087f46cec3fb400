// Charts as SVG, drawn by ECharts on the server: no browser, no canvas. Two of each, for light and for
// dark pages, with a ground of their own, as a page shows them as images and cannot style them.
//
// Text is measured without fonts here, so room for it is generous. Source: echarts.apache.org, SSR.

import * as echarts from 'echarts';
import { formatNumber } from '../statistics.js';
import type { Chart } from './charts.js';

export type Theme = 'light' | 'dark';
export const THEMES: readonly Theme[] = ['light', 'dark'];

interface Colours {
  ground: string;
  text: string;
  faint: string;
  line: string;
  series: string[];
  mark: string;
}

const COLOURS: Record<Theme, Colours> = {
  light: {
    ground: '#ffffff',
    text: '#1f2328',
    faint: '#59636e',
    line: '#d1d9e0',
    series: ['#0969da', '#9a6700'],
    mark: '#cf222e',
  },
  dark: {
    ground: '#0d1117',
    text: '#f0f6fc',
    faint: '#9198a1',
    line: '#3d444d',
    series: ['#4493f8', '#d29922'],
    mark: '#f85149',
  },
};

const FONT = "-apple-system, 'Segoe UI', 'Noto Sans', 'DejaVu Sans', Helvetica, Arial, sans-serif";
const WIDTH = 860;
const COLUMNS_HEIGHT = 360;
const BAR_HEIGHT = 30;
const BARS_MARGIN = 130;

/** The SVG of a chart. */
export function draw(chart: Chart, theme: Theme): string {
  const colours = COLOURS[theme];
  const lying = chart.kind === 'bars';
  const height = lying ? BARS_MARGIN + chart.categories.length * BAR_HEIGHT : COLUMNS_HEIGHT;
  const instance = echarts.init(null, null, { renderer: 'svg', ssr: true, width: WIDTH, height });
  instance.setOption(option(chart, colours, lying));
  const svg = instance.renderToSVGString();
  instance.dispose();
  return `${svg}\n`;
}

function option(chart: Chart, colours: Colours, lying: boolean): echarts.EChartsOption {
  const text = { color: colours.text, fontFamily: FONT, fontSize: 12 };
  const faint = { ...text, color: colours.faint };
  const names = {
    type: 'category' as const,
    data: chart.categories,
    inverse: lying,
    axisLabel: { ...text, interval: 0, lineHeight: 16 },
    axisLine: { lineStyle: { color: colours.line } },
    axisTick: { show: false },
  };
  // A bar of a logarithmic axis would begin at 1 and hang below it.
  const floor = chart.log ? logFloor(chart) : undefined;
  const values = {
    type: chart.log ? ('log' as const) : ('value' as const),
    ...(floor === undefined ? {} : { min: floor, startValue: floor }),
    name: lying ? '' : chart.unit,
    nameTextStyle: faint,
    axisLabel: { ...faint, formatter: (value: number) => plainNumber(value) },
    splitLine: { lineStyle: { color: colours.line } },
  };
  return {
    animation: false,
    backgroundColor: colours.ground,
    textStyle: text,
    title: {
      text: chart.title,
      subtext: chart.subtitle,
      left: 16,
      top: 12,
      textStyle: { ...text, fontSize: 17, fontWeight: 'bold' },
      subtextStyle: faint,
    },
    legend: { right: 28, top: 16, textStyle: text, itemWidth: 14, itemHeight: 12, itemGap: 28 },
    grid: lying
      ? { left: 380, right: 60, top: 78, bottom: 40 }
      : { left: 64, right: 24, top: 96, bottom: 52 },
    xAxis: lying ? values : names,
    yAxis: lying ? names : values,
    series: [...bars(chart, colours, lying), ...marks(chart, colours, lying)],
  };
}

function bars(chart: Chart, colours: Colours, lying: boolean): echarts.SeriesOption[] {
  return chart.series.map(({ name, values }, i) => ({
    type: 'bar',
    name,
    barMaxWidth: lying ? 16 : 46,
    barGap: '8%',
    itemStyle: { color: colours.series[i % colours.series.length]!, borderRadius: 2 },
    label: {
      show: true,
      // Beside a lying bar the mark of its goal may stand.
      position: lying ? 'insideLeft' : 'top',
      color: lying ? colours.ground : colours.text,
      fontFamily: FONT,
      fontSize: 11,
      formatter: ({ value }: { value: unknown }) =>
        typeof value === 'number' ? `${formatNumber(value)}${lying ? chart.unit : ''}` : '',
    } as object,
    data: values.map((value) => value ?? '-'),
  }));
}

/** A short line across each bar. */
function marks(chart: Chart, colours: Colours, lying: boolean): echarts.SeriesOption[] {
  if (chart.marks === undefined) return [];
  return [
    {
      type: 'scatter',
      name: chart.markName ?? '',
      symbol: 'rect',
      symbolSize: lying ? [3, 22] : [40, 3],
      itemStyle: { color: colours.mark },
      data: chart.marks.map((mark, i) => (lying ? [mark ?? '-', i] : [i, mark ?? '-'])),
    },
  ];
}

/** The power of ten below every value. */
function logFloor({ series }: Chart): number {
  const values = series.flatMap(({ values }) => values.filter((value) => value !== undefined));
  const least = Math.min(...values.filter((value) => value > 0));
  return Number.isFinite(least) ? 10 ** Math.floor(Math.log10(least) - 0.001) : 1;
}

function plainNumber(value: number): string {
  return value >= 1000 ? value.toLocaleString('en-US') : String(Number(value.toPrecision(6)));
}
