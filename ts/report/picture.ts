// One picture of a comparison: macro perplexity against cost. Drawn by echarts on the server side (SVG, no browser), which is
// an optional dependency because nothing but pictures needs it.
import { SweetspotError } from '../backend/errors.js';
import type { ComparedRow } from '../methods/compare.js';
import { compact } from './table.js';

/** SVG: x training FLOPs of pretraining and specialization (log), y macro perplexity; hollow before fine-tuning, filled after. */
export async function comparisonPicture(rows: readonly ComparedRow[], title: string): Promise<string> {
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
  const colors = ['#3b6fb6', '#d1622b', '#3f8f52', '#8a4fa3', '#7a7a7a'];
  const methods = [...new Set(rows.map((row) => row.method))];
  const cost = (row: ComparedRow) => row.flops + row.domains.reduce((sum, cell) => sum + cell.specializationFlops, 0);
  const series = methods.flatMap((method, i) => {
    const mine = rows.filter((row) => row.method === method);
    const color = colors[i % colors.length]!;
    const after = {
      name: method,
      type: 'line' as const,
      symbol: 'circle',
      symbolSize: 11,
      color,
      data: mine.map((row) => ({ value: [cost(row), row.macro.perplexityAfter], name: compact(row.domainTokens) })),
      labelLayout: { hideOverlap: true },
      label: { show: true, position: 'right' as const, formatter: '{b}', color: '#555', fontSize: 10 },
    };
    const before = {
      name: method,
      type: 'scatter' as const,
      symbol: 'emptyCircle',
      symbolSize: 9,
      color,
      data: mine.filter((row) => row.flops > 0).map((row) => [row.flops, row.macro.perplexityBefore]),
    };
    return [after, before];
  });
  const shown = rows.flatMap(({ flops, macro }) => [
    macro.perplexityAfter,
    ...(flops > 0 ? [macro.perplexityBefore] : []),
  ]);
  const chart = echarts.init(null, null, { renderer: 'svg', ssr: true, width: 860, height: 520 });
  chart.setOption({
    animation: false,
    backgroundColor: '#fff',
    title: {
      text: title,
      subtext: 'hollow: before fine-tuning; filled: after, labelled with in-domain tokens',
      left: 'center',
    },
    legend: { top: 'bottom', data: methods },
    grid: { left: 70, right: 60, top: 80, bottom: 80 },
    xAxis: {
      type: 'log',
      name: 'training FLOPs, all domains',
      nameLocation: 'middle',
      nameGap: 30,
      axisLabel: { formatter: (v: number) => v.toExponential(0) },
    },
    yAxis: {
      type: 'log',
      logBase: 2,
      name: 'macro perplexity',
      min: Math.floor(0.9 * Math.min(...shown)),
      max: Math.ceil(1.1 * Math.max(...shown)),
      axisLabel: { formatter: (v: number) => v.toPrecision(3) },
    },
    series,
  });
  const svg = chart.renderToSVGString();
  chart.dispose();
  return svg;
}
