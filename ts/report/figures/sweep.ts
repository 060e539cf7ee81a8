// Macro perplexity against one setting that a system varies: clusters of importance sampling, experts, mixture size, slices.
import type { Group } from '../../experiment/summary.js';
import { compactCount } from '../../io/numbers.js';
import { type Panel, renderPanels, type Series } from '../chart.js';
import type { DrawFigure, View } from '../view.js';

/** Figures of the paper, and what to write in the file to get them. */
const SWEEPS = [
  {
    id: 'importance-clusters',
    method: 'importance',
    setting: 'clusters',
    title: 'Importance sampling: number of clusters',
    axis: 'clusters',
  },
  {
    id: 'experts',
    method: 'projected',
    setting: 'clusters',
    title: 'Projected network: number of experts',
    axis: 'experts',
  },
  {
    id: 'mixture-size',
    method: 'mixture',
    setting: 'clusters',
    title: 'Hard mixture: number of experts',
    axis: 'experts',
  },
  {
    id: 'slices',
    method: 'projected',
    setting: 'slices',
    title: 'Projected network: slices of the bank',
    axis: 'slices',
  },
] as const;

const NOTES: Readonly<Record<string, string>> = {
  'importance-clusters':
    'With many clusters the histogram of a small in-domain set is noisy and their text is repeated often; with few it is coarse.',
  experts: 'Experts share one network of the same inference size; more of them are trained on less text each.',
  'mixture-size':
    'Every expert is trained on the text of its own cluster, so more experts divide the same budget further.',
  slices: 'Slices set the capacity of the bank, and not the size of the model that is served.',
};

export const sweepFigures: readonly DrawFigure[] = SWEEPS.map(
  ({ id, method, setting, title, axis }) =>
    async (view) => {
      const panels = systemsOf(view, method).flatMap((name) => panelOf(view, name, setting, axis));
      if (panels.length === 0)
        return { id, title, add: `give a system of method ${method} a list: \`${setting}: [8, 16, 32]\`` };
      return {
        id,
        title,
        caption: `${NOTES[id]!} Open symbols: before fine-tuning; filled: after, a line for each in-domain size.`,
        text: panels
          .map(
            (panel) =>
              `${panel.title}: ${panel.series.map((one) => `${one.name}: ${one.points.map(({ x, y }) => `${y.mean.toPrecision(3)} at ${x}`).join(', ')}`).join('; ')}`,
          )
          .join('. '),
        svg: await renderPanels(panels, { columns: 2 }),
      };
    },
);

const systemsOf = ({ results }: View, method: string): string[] => [
  ...new Set(results.systems.filter((system) => system.method === method).map(({ name }) => name)),
];

/** One panel of a system, at the first value of what else it varies. */
function panelOf(view: View, name: string, setting: string, axis: string): Panel[] {
  const { results, groups } = view;
  const variants = results.systems.flatMap((system, index) => (system.name === name ? [{ system, index }] : []));
  const first = variants[0]!.system;
  if (!first.varied.includes(setting)) return [];
  const others = first.varied.filter((one) => one !== setting);
  const along = variants.filter(({ system }) =>
    others.every((one) => JSON.stringify(system.settings[one]) === JSON.stringify(first.settings[one])),
  );
  const value = (group: Group) => Number(results.systems[group.system]!.settings[setting]);
  const own = groups.filter(({ system }) => along.some(({ index }) => index === system));
  const mine = own.filter(({ choice }) => choice === own[0]!.choice);
  const line = (size: number, of: 'before' | 'after', label: string, variant: number): Series[] => {
    const points = mine.flatMap((group) => {
      const y = group[of];
      return group.size === size && y !== null ? [{ x: value(group), y }] : [];
    });
    points.sort((a, b) => a.x - b.x);
    const style = view.style(name, variant);
    return points.length < 2 ? [] : [{ name: label, style, points, line: true, hollow: of === 'before' }];
  };
  const least = Math.min(...results.sizes);
  const series = [
    ...line(least, 'before', `${name}, before fine-tuning`, 1),
    ...results.sizes.flatMap((size, i) =>
      line(size, 'after', `${name}, ${compactCount(size)} in-domain tokens`, i === 0 ? 0 : i + 1),
    ),
  ];
  if (series.length === 0) return [];
  const ticks = [...new Set(mine.map(value))];
  return [
    {
      title: name,
      x: { name: axis, type: 'log', ticks, format: String },
      y: { name: 'macro perplexity (lower is better)', type: 'log' },
      series,
    },
  ];
}
