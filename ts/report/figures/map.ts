// A map of each clustering: centroids on their two leading principal components, sized by share of generic text, labelled with
// their terms; domains where their histograms place them.
import { average } from '../../experiment/summary.js';
import { FONT, renderOption } from '../chart.js';
import { INK, PALETTE } from '../style.js';
import type { DrawFigure, Figure } from '../view.js';

/** Radius in points of a cluster that holds all text; areas are in proportion to shares. */
const RADIUS = 120;
const TERMS = 3;
/** Clusters with labels, the largest first: more are not readable. */
const LABELS = 40;
const READABLE = 16;

export const mapFigure: DrawFigure = async (view) => {
  const [id, title] = ['map', 'Clusters and domains'];
  const { results } = view;
  const used = results.maps.filter(({ clusters }) => results.rows.some((row) => row.histogram.length === clusters));
  // One that can be read: the clustering nearest to so many.
  const far = (clusters: number) => Math.abs(Math.log(clusters / READABLE));
  const map = used.sort((a, b) => far(a.clusters) - far(b.clusters))[0];
  if (map === undefined)
    return { id, title, add: 'compare a system that uses clusters: projected, mixture or importance' };
  const { clusters, x, y, shares, terms, explained } = map;
  const order = shares.map((_, c) => c).sort((a, b) => shares[b]! - shares[a]!);
  const labelled = new Set(order.slice(0, LABELS));
  const label = { fontFamily: FONT, fontSize: 11, lineHeight: 13 };
  const places = results.domains.flatMap((domain) => {
    const rows = results.rows.filter((row) => row.domain === domain && row.histogram.length === clusters);
    if (rows.length === 0) return [];
    const h = Array.from({ length: clusters }, (_, c) => average(rows.map((row) => row.histogram[c]!)));
    const at = (of: readonly number[]) => h.reduce((sum, share, c) => sum + share * of[c]!, 0);
    const main = h.reduce((best, share, c) => (share > h[best]! ? c : best), 0);
    return [{ domain, value: [at(x), at(y)], main, share: h[main]! }];
  });
  const axis = (i: number) => ({
    type: 'value',
    scale: true,
    name: `component ${i + 1} (${(100 * (explained[i] ?? 0)).toFixed(0)}% of the variance of centroids)`,
    nameLocation: 'middle',
    nameGap: i === 0 ? 28 : 16,
    nameTextStyle: { color: INK.soft, fontSize: 12, fontFamily: FONT },
    axisLine: { show: false },
    axisTick: { show: false },
    axisLabel: { show: false },
    splitLine: { lineStyle: { color: INK.grid } },
    boundaryGap: ['8%', '8%'],
  });
  const bubble = (c: number) => ({
    name: `${c}`,
    value: [x[c]!, y[c]!],
    symbolSize: Math.max(5, 2 * RADIUS * Math.sqrt(shares[c]! / Math.PI)),
    label: labelled.has(c) ? { formatter: `${c}: ${(terms[c] ?? []).slice(0, TERMS).join(' ')}` } : { show: false },
  });
  const svg = await renderOption(
    {
      textStyle: { fontFamily: FONT },
      grid: { left: 40, right: 20, top: 16, bottom: 44 },
      xAxis: axis(0),
      yAxis: axis(1),
      series: [
        {
          type: 'scatter',
          z: 1,
          itemStyle: { color: PALETTE[0]![0], opacity: 0.3, borderColor: PALETTE[0]![0], borderWidth: 1.2 },
          label: { show: true, position: 'bottom', distance: 3, color: INK.soft, opacity: 1, ...label },
          labelLayout: { hideOverlap: true, moveOverlap: 'shiftY' },
          data: order.map(bubble),
        },
        {
          type: 'scatter',
          z: 3,
          symbol: 'diamond',
          symbolSize: 15,
          itemStyle: { color: PALETTE[1]![0], opacity: 1, borderColor: INK.back, borderWidth: 1.5 },
          label: {
            show: true,
            position: 'top',
            formatter: '{b}',
            color: INK.text,
            ...label,
            fontSize: 13,
            fontWeight: 700,
            textBorderColor: INK.back,
            textBorderWidth: 3,
          },
          labelLayout: { moveOverlap: 'shiftY' },
          data: places.map(({ domain, value }) => ({ name: domain, value })),
        },
      ],
    },
    960,
    620,
  );
  const figure: Figure = {
    id,
    title: `${title} (${clusters} clusters)`,
    caption: `Discs are clusters of the generic corpus: area by share of its tokens, place by the two leading principal components of their centroids, words the most characteristic terms. Diamonds are domains, each at the mean of the centroids weighted by its histogram: one that lies on a disc is one cluster, one between discs is spread.`,
    text: places
      .map(
        ({ domain, main, share }) =>
          `${domain}: ${(100 * share).toFixed(0)}% in cluster ${main} (${(terms[main] ?? []).slice(0, TERMS).join(' ')})`,
      )
      .join('; '),
    svg,
  };
  return figure;
};
