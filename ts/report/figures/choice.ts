// How the expert is chosen: macro perplexity of every choice of every system that has several.

import { CHOICES } from '../../experiment/experiment.js';
import type { Group } from '../../experiment/summary.js';
import { compactCount } from '../../io/numbers.js';
import { type Panel, renderPanels, type Series } from '../chart.js';
import type { DrawFigure } from '../view.js';

export const choiceFigure: DrawFigure = async ({ results, groups, style }) => {
  const [id, title] = ['expert-choice', 'Choosing the expert'];
  const chosen = CHOICES.filter((choice) => groups.some((group) => group.choice === choice));
  const several = groups.filter(({ system, choice }) =>
    groups.some((other) => other.system === system && other.choice !== null && other.choice !== choice),
  );
  // One variant a system: the first.
  const first = new Map<string, number>();
  for (const { system } of several) {
    const { name } = results.systems[system]!;
    if (!first.has(name)) first.set(name, system);
  }
  const shown = several.filter(({ system }) => first.get(results.systems[system]!.name) === system);
  const panel = (heading: string, size: number, of: 'before' | 'after'): Panel => ({
    title: heading,
    x: { name: 'choice', type: 'value', categories: chosen },
    y: { name: 'macro perplexity (lower is better)', type: 'log' },
    series: [...first].flatMap(([name, system], i): Series[] => {
      const aside = (i - (first.size - 1) / 2) * 0.12;
      const points = shown.flatMap((group: Group) => {
        const y = group[of];
        return group.system === system && group.size === size && y !== null
          ? [{ x: chosen.indexOf(group.choice!) + aside, y }]
          : [];
      });
      points.sort((a, b) => a.x - b.x);
      return points.length === 0 ? [] : [{ name, style: style(name), points, hollow: of === 'before' }];
    }),
  });
  const least = Math.min(...results.sizes);
  const panels = [
    panel('before fine-tuning', least, 'before'),
    ...results.sizes.map((size) => panel(`${compactCount(size)} in-domain tokens`, size, 'after')),
  ].filter(({ series }) => series.length > 0);
  if (chosen.length < 2 || panels.length === 0) {
    const add = 'give a system with experts several choices: `expert: [histogram, frequent, lowest-loss, all]`';
    return { id, title, add };
  }
  return {
    id,
    title,
    caption:
      'histogram mixes all experts as the domain is spread over clusters; frequent takes the expert of its most frequent cluster; lowest-loss the one with the lowest loss on the domain before fine-tuning; ensemble averages the predictions of the nearest experts, at as many times the cost of an answer, and is not fine-tuned; all fine-tunes every expert and keeps the best on held-out text, at as many times the cost as there are experts.',
    text: panels
      .map(
        ({ title: heading, series }) =>
          `${heading}: ${series.map(({ name, points }) => `${name} ${points.map(({ x, y }) => `${chosen[Math.round(x)]} ${y.mean.toPrecision(3)}`).join(', ')}`).join('; ')}`,
      )
      .join('. '),
    svg: await renderPanels(panels, { height: 240 }),
  };
};
