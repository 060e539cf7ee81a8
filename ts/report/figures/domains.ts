// A panel a domain: perplexity before fine-tuning and after it with more and more in-domain text.
import { domainStat, type Group } from '../../experiment/summary.js';
import { compactCount } from '../../io/numbers.js';
import { type Panel, renderPanels, type Series } from '../chart.js';
import { type DrawFigure, ONE_A_SYSTEM } from '../view.js';

export const domainsFigure: DrawFigure = async ({ results, curves }) => {
  const [id, title] = ['domains', 'Each domain'];
  const sizes = [...results.sizes].sort((a, b) => a - b);
  const panels = results.domains
    .map((domain): Panel => {
      const series = curves.flatMap(({ name, style, groups }, curve): Series[] => {
        // Side by side, so that bars do not hide each other.
        const aside = (curve - (curves.length - 1) / 2) * 0.05;
        const tokens = (group: Group) => Number(results.systems[group.system]!.settings['tokens']);
        const most = Math.max(...groups.map(tokens));
        const mine = groups.filter((group) => tokens(group) === most);
        const points = sizes.flatMap((size, i) => {
          const group = mine.find((one) => one.size === size);
          if (group === undefined) return [];
          const [before, after] = [domainStat(group, domain, 'before'), domainStat(group, domain, 'after')];
          return [
            ...(i === 0 && before !== null ? [{ x: aside, y: before }] : []),
            ...(after !== null ? [{ x: i + 1 + aside, y: after }] : []),
          ];
        });
        return points.length === 0 ? [] : [{ name, style, points, line: true }];
      });
      return {
        title: domain,
        x: { name: 'in-domain tokens', type: 'value', categories: ['none', ...sizes.map(compactCount)] },
        y: { name: 'perplexity (lower is better)', type: 'log' },
        series,
      };
    })
    .filter((panel) => panel.series.length > 0);
  if (panels.length === 0) return { id, title, add: 'run more of the experiment: no domain has a row yet' };
  return {
    id,
    title,
    caption: `Held-out text of each domain, before fine-tuning (none) and after it, at the largest pretraining budget. ${ONE_A_SYSTEM}`,
    text: panels
      .map(
        ({ title: domain, series }) =>
          `${domain}: ${series.map(({ name, points }) => `${name} ${points.map(({ y }) => y.mean.toPrecision(3)).join(', ')}`).join('; ')}`,
      )
      .join('. '),
    svg: await renderPanels(panels, { columns: panels.length === 4 ? 2 : 3, height: 250 }),
  };
};
