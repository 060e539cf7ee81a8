// Whether the histogram of a domain tells beforehand what experts will bring: gain over the plain model against its entropy,
// and against how well generic text covers it.
import { domainStat, type Group } from '../../experiment/summary.js';
import { compactCount } from '../../io/numbers.js';
import { type Panel, renderPanels, type Series } from '../chart.js';
import type { Curve, DrawFigure } from '../view.js';

/** Group of the largest pretraining budget of a curve, for one size. */
function richest(curve: Curve, size: number): Group | undefined {
  return curve.groups
    .filter((group) => group.size === size)
    .reduce<Group | undefined>(
      (best, group) =>
        best === undefined || group.genericFlops + group.domainFlops > best.genericFlops + best.domainFlops
          ? group
          : best,
      undefined,
    );
}

export const entropyFigure: DrawFigure = async ({ results, curves }) => {
  const [id, title] = ['entropy', 'Entropy and coverage against the gain over the plain model'];
  const least = Math.min(...results.sizes);
  const method = (curve: Curve) => results.systems[curve.groups[0]!.system]!.method;
  const placed = curves.filter((curve) => curve.groups.some(({ rows }) => rows.some((row) => row.entropy !== null)));
  // One as large as those it is compared with, where there are several.
  const served = ({ groups }: Curve) => groups[0]!.rows[0]!.inference.parameters;
  const plains = curves.filter((curve) => method(curve) === 'slm');
  const plain = plains.find((curve) => placed.some((one) => served(one) === served(curve))) ?? plains[0];
  const base = plain && richest(plain, least);
  if (base === undefined || placed.length === 0)
    return { id, title, add: 'compare a system of method slm with one of projected, mixture or importance' };

  const series = (of: 'before' | 'after', x: 'entropy' | 'coverage'): Series[] =>
    placed.flatMap((curve): Series[] => {
      const group = richest(curve, least);
      if (group === undefined) return [];
      const points = results.domains.flatMap((domain) => {
        const [own, other] = [domainStat(group, domain, of), domainStat(base, domain, of)];
        const values = group.rows.filter((row) => row.domain === domain).flatMap((row) => row[x] ?? []);
        if (own === null || other === null || values.length === 0) return [];
        const y = {
          mean: 100 * (1 - own.mean / other.mean),
          deviation: (100 * own.deviation) / other.mean,
          seeds: own.seeds,
        };
        return [{ x: values.reduce((a, b) => a + b, 0) / values.length, y, label: domain }];
      });
      return points.length === 0 ? [] : [{ name: curve.name, style: curve.style, points, hollow: of === 'before' }];
    });
  const panels = (['before', 'after'] as const)
    .flatMap((of) =>
      (['entropy', 'coverage'] as const).map(
        (x): Panel => ({
          title: of === 'before' ? 'before fine-tuning' : `after ${compactCount(least)} in-domain tokens`,
          x: {
            name: x === 'entropy' ? 'entropy of the histogram (nats)' : 'coverage by generic text (0 to 1)',
            type: 'value',
          },
          y: { name: `gain over ${plain!.name} (%, more is better)`, type: 'value' },
          series: series(of, x),
        }),
      ),
    )
    .filter((panel) => panel.series.length > 0);
  return {
    id,
    title,
    caption: `A point a domain and system. Gain is the perplexity saved against ${plain!.name} at the largest pretraining budget, in percent; below zero the experts lose. A domain with a flat histogram (high entropy) or little generic text like it (low coverage) is where they are expected to.`,
    text: panels
      .map(
        ({ title: heading, x, series: all }) =>
          `${heading}, ${x.name}: ${all.map(({ name, points }) => `${name} ${points.map((point) => `${point.label} ${point.y.mean.toFixed(1)}% at ${point.x.toFixed(2)}`).join(', ')}`).join('; ')}`,
      )
      .join('. '),
    svg: await renderPanels(panels, { columns: 2, height: 260 }),
  };
};
