// What every figure looks at: the results, put together once, and which curves the overview figures show.
import type { MachineFile, Results } from '../experiment/results.js';
import { type Group, groupRows } from '../experiment/summary.js';
import { type Style, styleOf } from './style.js';

export interface Figure {
  readonly id: string;
  readonly title: string;
  /** What is shown and what to look for. */
  readonly caption: string;
  /** The values, for those who cannot see the picture. */
  readonly text: string;
  readonly svg: string;
}

export interface MissingFigure {
  readonly id: string;
  readonly title: string;
  /** What to add to the file of the experiment. */
  readonly add: string;
}

export type DrawFigure = (view: View) => Promise<Figure | MissingFigure>;

/** Groups that differ only in pretraining tokens: one curve of the overview figures. */
export interface Curve {
  readonly name: string;
  readonly style: Style;
  readonly groups: readonly Group[];
}

export interface View {
  readonly results: Results;
  readonly machine: MachineFile | undefined;
  readonly groups: readonly Group[];
  /** One a system: the first value of each of its lists but `tokens`, its first choice, every size. */
  readonly curves: readonly Curve[];
  readonly style: (system: string, variant?: number) => Style;
}

export function viewOf(results: Results, machine: MachineFile | undefined): View {
  const groups = groupRows(results);
  const names = [...new Set(results.systems.map(({ name }) => name))];
  const style = (system: string, variant?: number) => styleOf(names.indexOf(system), variant);
  const curves = names.map((name): Curve => {
    const variants = results.systems.flatMap((system, index) => (system.name === name ? [{ system, index }] : []));
    const first = variants[0]!.system;
    const fixed = first.varied.filter((setting) => setting !== 'tokens');
    const mine = new Set(
      variants
        .filter(({ system }) =>
          fixed.every((s) => JSON.stringify(system.settings[s]) === JSON.stringify(first.settings[s])),
        )
        .map(({ index }) => index),
    );
    const own = groups.filter((group) => mine.has(group.system));
    return { name, style: style(name), groups: own.filter((group) => group.choice === own[0]!.choice) };
  });
  // A model that never saw generic text would only squeeze the others together: it is in the tables.
  const trained = ({ groups: own }: Curve) =>
    own.length > 0 && own.some(({ rows }) => rows.some((row) => row.cells.run !== null));
  return { results, machine, groups, curves: curves.filter(trained), style };
}

/** Said in captions of figures that show curves. */
export const ONE_A_SYSTEM =
  'One curve a system, for the first value of each of its lists in the file; figures further down show the other values. Models without pretraining are in the tables only.';
