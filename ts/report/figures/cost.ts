// Perplexity against cost: generic text, domains before and after fine-tuning, and the same when there are 1, 7 or 50 domains.
import { average, type Group, genericStat, type Stat } from '../../experiment/summary.js';
import { compactCount } from '../../io/numbers.js';
import { type Axis, type Panel, renderPanels, type Series } from '../chart.js';
import { power } from '../table.js';
import { type Curve, type DrawFigure, ONE_A_SYSTEM } from '../view.js';

export const PERPLEXITY: Axis = { name: 'macro perplexity (lower is better)', type: 'log' };
export const cost = (name: string): Axis => ({
  name: `${name} (FLOPs, less is better)`,
  type: 'log',
  format: (value) => power(value, 3),
});

/** Lines through the groups of each curve that have both values, by cost. */
function lines(
  curves: readonly Curve[],
  keep: (group: Group) => boolean,
  x: (group: Group) => number,
  y: (group: Group) => Stat | null,
  hollow = false,
): Series[] {
  return curves.flatMap(({ name, style, groups }) => {
    const points = groups.filter(keep).flatMap((group) => {
      const value = y(group);
      return value === null || !(x(group) > 0) ? [] : [{ x: x(group), y: value }];
    });
    points.sort((a, b) => a.x - b.x);
    return points.length === 0 ? [] : [{ name, style, points, line: true, hollow }];
  });
}

export const tell = (panels: readonly Panel[]): string =>
  panels
    .map(({ title, series }) => {
      const values = series.map(
        ({ name, points }) =>
          `${name} ${points.map(({ x, y }) => `${y.mean.toPrecision(3)} at ${x.toExponential(1)}`).join(', ')}`,
      );
      return `${title}: ${values.join('; ')}`;
    })
    .join('. ');

/** Curves before fine-tuning: students are plain models then, and of systems that part only later the first is shown. */
function untuned(curves: readonly Curve[]): Curve[] {
  const shown = new Set<string>();
  return curves.filter(({ groups }) => {
    const starts = groups.flatMap(({ rows }) =>
      rows.flatMap(({ teacher, cells }) => (teacher === undefined ? cells.starts : [])),
    );
    const fresh = starts.filter((id) => !shown.has(id));
    for (const id of fresh) shown.add(id);
    return fresh.length > 0;
  });
}

export const genericFigure: DrawFigure = async ({ results, curves }) => {
  const [id, title] = ['generic', 'Generic perplexity against generic cost'];
  const least = Math.min(...results.sizes);
  const series = lines(
    untuned(curves),
    ({ size }) => size === least,
    (group) => group.genericFlops,
    (group) => genericStat(results, group.system),
  );
  if (series.length === 0) return { id, title, add: 'name held-out generic text as corpus.test' };
  const panels = [
    {
      title: 'Held-out generic text',
      x: cost('generic pretraining'),
      y: { ...PERPLEXITY, name: 'perplexity (lower is better)' },
      series,
    },
  ];
  return {
    id,
    title,
    caption: `What pretraining before any domain is known buys on generic text. Systems with experts predict every window by the expert of its own cluster. Importance sampling and domain-only models have no generic part. Systems that differ only in fine-tuning are one curve, named after the first. ${ONE_A_SYSTEM}`,
    text: tell(panels),
    svg: await renderPanels(panels, { columns: 1, height: 320 }),
  };
};

export const specializedFigure: DrawFigure = async ({ results, curves }) => {
  const [id, title] = ['specialized', 'Specialized perplexity against total cost'];
  const domains = results.domains.length;
  const least = Math.min(...results.sizes);
  const total = (group: Group) => group.genericFlops + domains * group.domainFlops;
  // Before fine-tuning nothing has been spent on it.
  const spent = ({ genericFlops, rows }: Group) =>
    genericFlops +
    domains * average(rows.map(({ specialization: { pretraining, choosing } }) => pretraining.flops + choosing.flops));
  const x = cost(`total, ${domains} domain${domains > 1 ? 's' : ''}`);
  const panels: Panel[] = [
    {
      title: 'before fine-tuning',
      x,
      y: PERPLEXITY,
      series: lines(
        untuned(curves),
        ({ size }) => size === least,
        spent,
        (group) => group.before,
        true,
      ),
    },
    ...results.sizes.map((size) => ({
      title: `${compactCount(size)} in-domain tokens`,
      x,
      y: PERPLEXITY,
      series: lines(
        curves,
        (group) => group.size === size,
        total,
        (group) => group.after,
      ),
    })),
  ].filter((panel) => panel.series.length > 0);
  if (panels.length === 0) return { id, title, add: 'run more of the experiment: no row is complete for all domains' };
  return {
    id,
    title,
    caption: `Macro average over ${results.domains.join(', ')}, on held-out text; open symbols before fine-tuning (systems that differ only in it are one curve there, named after the first), filled ones after. Total cost is C_generic + N C_specialization for the N = ${domains} domains of this experiment. Bars are one standard deviation over seeds. ${ONE_A_SYSTEM}`,
    text: tell(panels),
    svg: await renderPanels(panels, { columns: panels.length > 4 ? 3 : 2 }),
  };
};

export const totalFigure: DrawFigure = async ({ results, curves }) => {
  const [id, title] = ['total-cost', 'Total cost for 1, 7 and 50 domains'];
  const least = Math.min(...results.sizes);
  const panels = [1, 7, 50]
    .map(
      (n): Panel => ({
        title: `${n} domain${n > 1 ? 's' : ''}`,
        x: cost('C(N)'),
        y: PERPLEXITY,
        series: lines(
          curves,
          ({ size }) => size === least,
          (group) => group.genericFlops + n * group.domainFlops,
          (group) => group.after,
        ),
      }),
    )
    .filter((panel) => panel.series.length > 0);
  if (panels.length === 0) return { id, title, add: 'fine-tune: leave out `finetune: false`' };
  return {
    id,
    title,
    caption: `C(N) = C_generic + N C_specialization, with ${compactCount(least)} in-domain tokens and the measured macro average for every N. A method that pretrains once moves little from panel to panel; one that pretrains for every domain moves right with them.`,
    text: tell(panels),
    svg: await renderPanels(panels, { shared: true }),
  };
};
