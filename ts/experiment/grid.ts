// A system whose settings are lists stands for every combination of them: its variants.
import { compactCount } from '../io/numbers.js';
import type { Experiment, SettingName, Settings, SystemEntry } from './experiment.js';
import { SYSTEM_METHODS } from './methods.js';

export interface Variant {
  /** Name of the system, the same for all its variants. */
  readonly system: string;
  readonly method: string;
  /** Unique in the experiment: the name, and the settings in which the variants differ. */
  readonly label: string;
  /** `tokens` is absent for a method that is never pretrained. */
  readonly settings: Settings & { readonly model: string };
  /** Settings that were lists. */
  readonly varied: readonly SettingName[];
  readonly entry: SystemEntry;
}

/** Variants of every system, in the order of the file; the first list varies slowest. */
export function variantsOf(experiment: Pick<Experiment, 'systems' | 'pretrain' | 'models'>): Variant[] {
  return experiment.systems.flatMap((entry) => {
    const axes = Object.entries({
      model: [Object.keys(experiment.models)[0]!],
      ...experiment.pretrain,
      ...entry.grid,
    }) as [SettingName, readonly unknown[] | undefined][];
    const never = SYSTEM_METHODS[entry.method]!.pretraining === 'never';
    const given = axes.filter(
      (axis): axis is [SettingName, readonly unknown[]] => axis[1] !== undefined && !(never && axis[0] === 'tokens'),
    );
    const varied = given.filter(([, values]) => values.length > 1).map(([name]) => name);
    let combinations: Settings[] = [{}];
    for (const [name, values] of given)
      combinations = combinations.flatMap((one) => values.map((value) => ({ ...one, [name]: value })));
    return combinations.map((settings): Variant => {
      const differs = varied.map((name) => `${name} ${text(settings[name])}`);
      return {
        system: entry.name,
        method: entry.method,
        label: differs.length === 0 ? entry.name : `${entry.name} (${differs.join(', ')})`,
        settings: settings as Variant['settings'],
        varied,
        entry,
      };
    });
  });
}

/** The system that another learns from: the first variant of that name. */
export const teacherOf = (variants: readonly Variant[], { settings }: Variant): Variant | undefined =>
  variants.find(({ system }) => system === settings.teacher);

const text = (value: unknown): string => (typeof value === 'number' ? compactCount(value) : String(value));
