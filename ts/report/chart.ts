// Panels of lines and points with error bars, drawn by echarts on the server side as SVG. echarts is a package the user adds:
// nothing but pictures needs it.
import { SweetspotError } from '../backend/errors.js';
import type { Stat } from '../experiment/summary.js';
import { INK, type Style } from './style.js';
import { escapeHtml } from './table.js';

export interface Axis {
  /** What it shows, with its unit and which way is better. */
  readonly name: string;
  readonly type: 'log' | 'value';
  /** Names instead of numbers: x is an index. */
  readonly categories?: readonly string[];
  readonly format?: (value: number) => string;
  /** Marks at these values alone. */
  readonly ticks?: readonly number[];
}

export interface Point {
  readonly x: number;
  readonly y: Stat;
  readonly label?: string;
}

export interface Series {
  readonly name: string;
  readonly style: Style;
  readonly points: readonly Point[];
  /** Joins the points. */
  readonly line?: boolean;
  /** Open symbols: before fine-tuning. */
  readonly hollow?: boolean;
}

export interface Panel {
  readonly title: string;
  readonly x: Axis;
  readonly y: Axis;
  readonly series: readonly Series[];
}

/** Without quotes: it stands in attributes, and the renderer does not escape them. */
export const FONT = 'system-ui, -apple-system, Segoe UI, Roboto, Helvetica Neue, sans-serif';

const WIDTH = 960;

/** Panels in rows of `columns`, one legend above them. With `shared` all panels have the same axes. */
export async function renderPanels(
  panels: readonly Panel[],
  options: { readonly columns?: number; readonly height?: number; readonly shared?: boolean } = {},
): Promise<string> {
  const { columns = 3, height = 300, shared = false } = options;
  const width = WIDTH;
  const names = [...new Set(panels.flatMap((panel) => panel.series.map(({ name }) => name)))];
  const legendRows = legendHeight(names, width);
  const top = 10 + 22 * legendRows + 34;
  const [left, right, below, between] = [64, 18, 74, 40];
  const cell = (width - right) / columns;
  const rows = Math.ceil(panels.length / columns);
  const place = (i: number) => ({
    left: (i % columns) * cell + left,
    top: top + Math.floor(i / columns) * (height + below + between),
    width: cell - left - right,
    height,
  });
  const option = {
    textStyle: { fontFamily: FONT, color: INK.text },
    title: panels.map((panel, i) => ({
      text: panel.title,
      left: place(i).left,
      top: place(i).top - 30,
      padding: 0,
      textStyle: { fontSize: 14, fontWeight: 600, color: INK.text, fontFamily: FONT },
    })),
    legend: {
      top: 2,
      left: 0,
      itemWidth: panels.some(({ series }) => series.some(({ line }) => line)) ? 24 : 11,
      itemHeight: 10,
      itemGap: 26,
      textStyle: { color: INK.text, fontSize: 12.5, fontFamily: FONT },
      data: names.map((name) => legendItem(panels, name)),
    },
    grid: panels.map((_, i) => place(i)),
    xAxis: panels.map((panel, i) => ({
      ...axis(panel.x, shared ? panels : [panel], 'x', place(i).width),
      gridIndex: i,
      nameLocation: 'middle',
      nameGap: 30,
    })),
    yAxis: panels.map((panel, i) => ({
      ...axis(panel.y, shared ? panels : [panel], 'y', place(i).height),
      gridIndex: i,
      // Two columns away and more it would be said again and again.
      ...(i % columns === 0 ? { nameLocation: 'middle', nameGap: 46 } : { name: '' }),
    })),
    series: panels.flatMap((panel, i) => panel.series.flatMap((one) => drawn(one, i))),
  };
  return await renderOption(option, width, top + rows * (height + below) + (rows - 1) * between);
}

/** Filled unless every series of the name is hollow. */
function legendItem(panels: readonly Panel[], name: string): object {
  const mine = panels.flatMap((panel) => panel.series.filter((one) => one.name === name));
  const { color } = mine[0]!.style;
  const itemStyle = mine.every(({ hollow }) => hollow)
    ? { color: INK.back, borderColor: color, borderWidth: 1.8 }
    : { color };
  return { name, itemStyle };
}

/** Rows the legend needs, at about seven points a letter. */
function legendHeight(names: readonly string[], width: number): number {
  let [rows, at] = [1, 0];
  for (const name of names) {
    const size = 58 + 7 * name.length;
    if (at > 0 && at + size > width) [rows, at] = [rows + 1, 0];
    at += size;
  }
  return rows;
}

function drawn({ name, style, points, line = false, hollow = false }: Series, grid: number): object[] {
  const { color, symbol, dash } = style;
  const place = { xAxisIndex: grid, yAxisIndex: grid, name, color, animation: false };
  const item = { opacity: 1, ...(hollow ? { color: INK.back, borderColor: color, borderWidth: 1.8 } : { color }) };
  const marks = {
    ...place,
    type: line ? 'line' : 'scatter',
    symbol,
    symbolSize: symbol === 'circle' || symbol === 'rect' ? 8 : 9.5,
    showAllSymbol: true,
    lineStyle: { color, width: 2, type: dash },
    itemStyle: item,
    data: points.map(({ x, y, label }) => ({ value: [x, y.mean], name: label ?? '' })),
    label: {
      show: points.some(({ label }) => label !== undefined),
      formatter: '{b}',
      position: 'right',
      color: INK.soft,
      fontSize: 11,
      fontFamily: FONT,
    },
    labelLayout: { hideOverlap: true },
    z: 3,
  };
  const spread = points.filter(({ y }) => y.seeds > 1 && y.deviation > 0);
  if (spread.length === 0) return [marks];
  const whiskers = {
    ...place,
    type: 'custom',
    silent: true,
    z: 2,
    data: spread.map(({ x, y }) => [x, y.mean - y.deviation, y.mean + y.deviation]),
    renderItem: (_: unknown, api: { value: (i: number) => number; coord: (at: number[]) => number[] }) => {
      const [x, low] = api.coord([api.value(0), api.value(1)]) as [number, number];
      const high = api.coord([api.value(0), api.value(2)])[1]!;
      const stroke = (shape: object) => ({ type: 'line', shape, style: { stroke: color, lineWidth: 1.4 } });
      return {
        type: 'group',
        children: [
          stroke({ x1: x, y1: low, x2: x, y2: high }),
          stroke({ x1: x - 4, y1: low, x2: x + 4, y2: low }),
          stroke({ x1: x - 4, y1: high, x2: x + 4, y2: high }),
        ],
      };
    },
  };
  // The first of a name is what the legend shows.
  return [marks, whiskers];
}

function axis(one: Axis, panels: readonly Panel[], which: 'x' | 'y', pixels: number): object {
  const label = { color: INK.soft, fontSize: 11.5, fontFamily: FONT, hideOverlap: true };
  const common = {
    name: one.name,
    nameTextStyle: { color: INK.soft, fontSize: 12, fontFamily: FONT },
    axisLine: { show: which === 'x', onZero: false, lineStyle: { color: INK.soft } },
    splitLine: { show: which === 'y', lineStyle: { color: INK.grid } },
  };
  const { categories } = one;
  if (categories !== undefined) {
    // Numbers from 0, so that points of one category may stand side by side.
    const ticks = categories.map((_, i) => i);
    return {
      ...common,
      type: 'value',
      min: -0.5,
      max: categories.length - 0.5,
      axisTick: { show: false },
      axisLabel: { ...label, customValues: ticks, formatter: (i: number) => categories[i] ?? '' },
    };
  }
  const values = panels.flatMap(({ series }) =>
    series.flatMap(({ points }) =>
      points.flatMap(({ x, y }) => (which === 'x' ? [x] : [y.mean - y.deviation, y.mean + y.deviation])),
    ),
  );
  const log = one.type === 'log';
  const [low, high] = extent(
    values.filter((value) => !log || value > 0),
    log,
  );
  const spacing = which === 'x' ? 74 : 44;
  const ticks = one.ticks ?? (log ? logTicks(low, high, pixels, spacing) : linearTicks(low, high, pixels, spacing));
  const format = one.format ?? plain;
  return {
    ...common,
    type: one.type,
    min: low,
    max: high,
    axisLabel: { ...label, formatter: (value: number) => format(value), customValues: ticks },
    axisTick: { show: which === 'x', lineStyle: { color: INK.soft }, customValues: ticks },
  };
}

/** Room around the values: 6% of their range, in logarithms on a logarithmic axis. */
function extent(values: readonly number[], log: boolean): [number, number] {
  const [from, to] = log ? [Math.log, Math.exp] : [(v: number) => v, (v: number) => v];
  const [low, high] = [from(Math.min(...values)), from(Math.max(...values))];
  const room = Math.max(0.06 * (high - low), log ? 0.03 : 0.02 * Math.abs(high) || 0.01);
  return [to(low - room), to(high + room)];
}

/** Marks at round values, evenly spaced, at most one each `spacing` points. */
function linearTicks(low: number, high: number, pixels: number, spacing: number): number[] {
  const raw = (high - low) / Math.max(3, Math.floor(pixels / spacing));
  const unit = 10 ** Math.floor(Math.log10(raw));
  const step = unit * [1, 2, 2.5, 5, 10].find((one) => one * unit >= raw * (1 - 1e-9))!;
  const first = Math.ceil(low / step);
  const count = Math.floor(high / step) - first + 1;
  return Array.from({ length: count }, (_, i) => Number(((first + i) * step).toPrecision(6)));
}

/** The same on a logarithmic axis: evenly spaced over a short range, 1-2-5 and such over a long one. */
export function logTicks(low: number, high: number, pixels: number, spacing: number): number[] {
  if (high / low < 3) return linearTicks(low, high, pixels, spacing);
  const room = Math.max(3, Math.floor(pixels / spacing));
  const within = (value: number) => value >= low && value <= high;
  const first = Math.floor(Math.log10(low));
  const powers = Array.from({ length: Math.ceil(Math.log10(high)) - first + 1 }, (_, i) => 10 ** (first + i));
  for (const set of [[1, 1.5, 2, 3, 4, 5, 7], [1, 2, 5], [1, 3], [1]]) {
    const found = powers.flatMap((power) => set.map((one) => Number((one * power).toPrecision(6)))).filter(within);
    if (found.length <= room) return found;
  }
  return powers.filter((power, i) => i % 2 === 0 && within(power));
}

const plain = (value: number): string => String(Number(value.toPrecision(3)));
/**
 * SVG of an echarts option.
 * @throws SweetspotError SWEETSPOT_USAGE when echarts is not installed
 */
export async function renderOption(option: object, width: number, height: number): Promise<string> {
  let echarts: typeof import('echarts');
  try {
    echarts = await import('echarts');
  } catch (cause) {
    throw new SweetspotError('SWEETSPOT_USAGE', {
      what: 'pictures need the package echarts',
      fix: 'npm install echarts@6',
      cause,
    });
  }
  const chart = echarts.init(null, null, { renderer: 'svg', ssr: true, width, height });
  chart.setOption({ animation: false, backgroundColor: INK.back, ...option });
  const svg = chart.renderToSVGString();
  chart.dispose();
  return svg;
}

/** The drawing with a name and a description for those who cannot see it. `id` is unique in its page. */
export function describeSvg(svg: string, id: string, title: string, text: string): string {
  const head = `<title id="${id}-title">${escapeHtml(title)}</title><desc id="${id}-text">${escapeHtml(text)}</desc>`;
  return svg.replace(/<svg ([^>]*)>/, `<svg $1 role="img" aria-labelledby="${id}-title ${id}-text">${head}`);
}
