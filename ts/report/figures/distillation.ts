// Distillation against what it costs (PAPER, SLM-d): the student beside the plain model and its teacher, at its overall cost and
// as if the teacher had been there anyway.
import type { Group } from '../../experiment/summary.js';
import { compactCount } from '../../io/numbers.js';
import { type Panel, renderPanels, type Series } from '../chart.js';
import type { Curve, DrawFigure } from '../view.js';
import { cost, PERPLEXITY, tell } from './cost.js';

export const distillationFigure: DrawFigure = async ({ results, curves, style }) => {
  const [id, title] = ['distillation', 'Distillation against overall cost'];
  const system = ({ groups }: Curve) => results.systems[groups[0]!.system]!;
  const students = curves.filter(({ groups }) =>
    groups.some(({ rows }) => rows.some((row) => row.teacher !== undefined)),
  );
  const teachers = new Set(students.map((curve) => system(curve).settings['teacher']));
  const served = ({ groups }: Curve) => groups[0]!.rows[0]!.inference.parameters;
  const sizes = new Set(students.map(served));
  const isPlain = (curve: Curve) =>
    system(curve).method === 'slm' && system(curve).finetune === undefined && sizes.has(served(curve));
  const others = curves.filter((curve) => teachers.has(curve.name) || isPlain(curve));
  const domains = results.domains.length;
  const overall = (group: Group) => group.genericFlops + domains * group.domainFlops;
  const alone = (group: Group) => overall(group) - group.teacher.genericFlops - domains * group.teacher.domainFlops;
  const series = (
    { groups }: Curve,
    size: number,
    x: (group: Group) => number,
    look: Omit<Series, 'points'>,
  ): Series[] => {
    const points = groups.flatMap((group) =>
      group.size === size && group.after !== null ? [{ x: x(group), y: group.after }] : [],
    );
    points.sort((a, b) => a.x - b.x);
    return points.length === 0 ? [] : [{ ...look, points, line: true }];
  };
  const panels = results.sizes
    .map(
      (size): Panel => ({
        title: `${compactCount(size)} in-domain tokens`,
        x: cost(`total, ${domains} domain${domains > 1 ? 's' : ''}`),
        y: PERPLEXITY,
        series: [
          ...others.flatMap((curve) => series(curve, size, overall, { name: curve.name, style: curve.style })),
          ...students.flatMap((curve) => [
            ...series(curve, size, overall, { name: `${curve.name}, overall`, style: curve.style }),
            ...series(curve, size, alone, {
              name: `${curve.name}, teacher not counted`,
              style: style(curve.name, 1),
              hollow: true,
            }),
          ]),
        ],
      }),
    )
    .filter((panel) => panel.series.length > 0);
  if (students.length === 0 || panels.length === 0)
    return { id, title, add: 'add a system of method distillation, with a larger system of the file as `teacher`' };
  return {
    id,
    title,
    caption:
      "Students are fine-tuned on the text and on their teacher's word about it. Overall, the teacher's pretraining and fine-tuning are theirs to pay; open symbols leave both out, as if the teacher had been there anyway (reading the text is counted in either).",
    text: tell(panels),
    svg: await renderPanels(panels, { columns: panels.length > 4 ? 3 : 2 }),
  };
};
