// A report as pictures: products beside the peers and the roof, training steps, and the roofline. SVG by echarts, without a
// browser.
import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import * as echarts from 'echarts';
import { figure, type Report, type Result } from './result.js';

const OURS = 'sweetspot';
const COLORS = ['#d1622b', '#3b6fb6', '#3f8f52', '#8a4fa3', '#7a7a7a', '#b59a2d'];
const label = (row: Result): string => row.peer ?? OURS;

/** Writes what there are figures for into `folder`; the names of the files. */
export function writePictures(report: Report, folder: string): string[] {
  mkdirSync(folder, { recursive: true });
  const pictures: [string, string | undefined][] = [
    ...['fp32', 'bf16'].map((dtype): [string, string | undefined] => [`gemm_${dtype}.svg`, gemmBars(report, dtype)]),
    ['step.svg', stepBars(report)],
    ['roofline.svg', roofline(report)],
  ];
  return pictures.flatMap(([name, svg]) => {
    if (svg === undefined) return [];
    writeFileSync(path.join(folder, name), svg);
    return [name];
  });
}

function render(option: object, width: number, height: number): string {
  const chart = echarts.init(null, null, { renderer: 'svg', ssr: true, width, height });
  chart.setOption({ animation: false, backgroundColor: '#fff', color: COLORS, ...option });
  const svg = chart.renderToSVGString();
  chart.dispose();
  return svg;
}

const subtitle = ({ machine, roof }: Report): string =>
  `${machine.cpu}, ${machine.threads} threads, ${machine.isa}; roof ${figure(roof.fp32)} GFLOP/s fp32` +
  `${roof.bf16 === null ? '' : `, ${figure(roof.bf16)} bf16`}, ${figure(roof.read)} GB/s`;

/** Horizontal bars, a group a name, a colour a contender; ours first. */
function bars(
  report: Report,
  rows: readonly Result[],
  title: string,
  axis: object,
  roof: number | undefined,
): string | undefined {
  const names = [...new Set(rows.map((row) => row.name))];
  if (names.length === 0) return undefined;
  const who = [...new Set([OURS, ...rows.map(label)])];
  const series = who.map((name, i) => ({
    name,
    type: 'bar',
    data: names.map((one) => rows.find((row) => row.name === one && label(row) === name)?.value ?? '-'),
    barGap: '5%',
    ...(i === 0 && roof !== undefined
      ? {
          markLine: {
            symbol: 'none',
            lineStyle: { color: '#222', type: 'dashed' },
            label: { formatter: 'roof' },
            data: [{ xAxis: roof }],
          },
        }
      : {}),
  }));
  return render(
    {
      title: { text: title, subtext: subtitle(report), left: 'center' },
      legend: { bottom: 5, data: who },
      grid: { left: 250, right: 60, top: 70, bottom: 70 },
      xAxis: axis,
      yAxis: {
        type: 'category',
        data: names,
        inverse: true,
        axisLabel: { fontSize: 11, width: 235, overflow: 'break' },
      },
      series,
    },
    900,
    160 + names.length * (8 + 9 * who.length),
  );
}

function gemmBars(report: Report, dtype: string): string | undefined {
  const rows = report.results.filter((row) => row.op === 'gemm' && row.dtype === dtype && row.unit === 'GFLOP/s');
  const roof = dtype === 'bf16' ? (report.roof.bf16 ?? undefined) : report.roof.fp32;
  const axis = {
    type: 'value',
    name: 'GFLOP/s',
    nameLocation: 'middle',
    nameGap: 25,
    max: roof && Math.ceil(roof / 50) * 50,
  };
  return bars(report, rows, `Matrix products, ${dtype}`, axis, roof);
}

function stepBars(report: Report): string | undefined {
  const rows = report.results.filter((row) => row.op === 'train_step');
  const axis = { type: 'log', name: 'tokens/s', nameLocation: 'middle', nameGap: 25 };
  return bars(report, rows, 'Training steps', axis, undefined);
}

/** FLOPs a byte of a product whose operands are read and written once, by its shape "MxNxK NT". */
export function intensity(shape: string): number | undefined {
  const sizes = /^(\d+)x(\d+)x(\d+) /.exec(shape)?.slice(1).map(Number);
  if (sizes === undefined) return undefined;
  const [m, n, k] = sizes as [number, number, number];
  return (2 * m * n * k) / (4 * (m * k + k * n + m * n));
}

function roofline(report: Report): string | undefined {
  const points = report.results.flatMap((row) => {
    const x = row.op === 'gemm' ? intensity(row.shape) : undefined;
    if (x === undefined) return [];
    return [{ row, x, y: row.unit === 'GB/s' ? row.value * x : row.value }];
  });
  if (points.length === 0) return undefined;
  const { read, fp32, bf16 } = report.roof;
  const [low, high] = [0.25, 1024];
  const roof = (name: string, peak: number) => ({
    name,
    type: 'line',
    symbol: 'none',
    lineStyle: { color: '#222', type: name === 'fp32 roof' ? 'solid' : 'dashed' },
    color: '#222',
    data: [
      [low, low * read],
      [peak / read, peak],
      [high, peak],
    ],
  });
  const who = [...new Set(points.map(({ row }) => `${label(row)} ${row.dtype}`))];
  const series = who.map((name) => ({
    name,
    type: 'scatter',
    symbol: name.endsWith('bf16') ? 'diamond' : 'circle',
    symbolSize: name.startsWith(OURS) ? 9 : 5,
    data: points.filter(({ row }) => `${label(row)} ${row.dtype}` === name).map(({ x, y }) => [x, y]),
  }));
  const log = { type: 'log', logBase: 2, axisLabel: { formatter: (value: number) => figure(value) } };
  return render(
    {
      title: { text: 'Roofline of matrix products', subtext: subtitle(report), left: 'center' },
      legend: { bottom: 5, data: [...who, 'fp32 roof', ...(bf16 === null ? [] : ['bf16 roof'])] },
      grid: { left: 80, right: 40, top: 70, bottom: 90 },
      xAxis: { ...log, name: 'FLOPs a byte', nameLocation: 'middle', nameGap: 28, min: low, max: high },
      yAxis: { ...log, name: 'GFLOP/s' },
      series: [roof('fp32 roof', fp32), ...(bf16 === null ? [] : [roof('bf16 roof', bf16)]), ...series],
    },
    900,
    560,
  );
}
