// Flags of `npm run bench`.
import { parseArgs } from 'node:util';

export interface BenchOptions {
  /** Words; a case runs when its group and name hold one of them. None: all cases. */
  readonly filter: readonly string[];
  readonly json?: string | undefined;
  readonly compare?: string | undefined;
  readonly picture?: string | undefined;
  readonly threads?: number | undefined;
  readonly isa?: string | undefined;
  readonly rounds: number;
  readonly quick: boolean;
  readonly peers: boolean;
  /** Print the names and stop. */
  readonly list: boolean;
}

export const USAGE = `npm run bench -- [options]
  --filter TEXT      only cases whose group or name holds TEXT; several times or with commas: any of them
  --quick            a few cases of every group
  --list             the names of the cases
  --json FILE        machine, roofs and results as JSON
  --compare FILE     against a JSON of before; exits with 1 when a row of ours is slower beyond noise
  --picture FOLDER   pictures as SVG
  --no-peers         nothing but ours
  --threads N        default: one a core
  --isa NAME         kernels to use; default: the best this machine runs
  --rounds N         turns of every contender (3; 2 with --quick)
Peers are used where they are installed: libopenblas-dev, libdnnl-dev, libblis-dev; PyTorch and scikit-learn in the Python that
SWEETSPOT_PYTHON names (python3).`;

/** Throws TypeError with a message for the user. */
export function parseBenchOptions(args: readonly string[]): BenchOptions {
  const { values } = parseArgs({
    args: [...args],
    options: {
      filter: { type: 'string', multiple: true },
      json: { type: 'string' },
      compare: { type: 'string' },
      picture: { type: 'string' },
      threads: { type: 'string' },
      isa: { type: 'string' },
      rounds: { type: 'string' },
      quick: { type: 'boolean', default: false },
      'no-peers': { type: 'boolean', default: false },
      list: { type: 'boolean', default: false },
    },
  });
  const whole = (name: string, text: string | undefined): number | undefined => {
    if (text === undefined) return undefined;
    const value = Number(text);
    if (!Number.isInteger(value) || value < 1)
      throw new TypeError(`--${name} takes a whole number from 1, not ${text}`);
    return value;
  };
  return {
    filter: (values.filter ?? []).flatMap((text) => text.split(',')).filter((word) => word !== ''),
    json: values.json,
    compare: values.compare,
    picture: values.picture,
    threads: whole('threads', values.threads),
    isa: values.isa,
    rounds: whole('rounds', values.rounds) ?? (values.quick ? 2 : 3),
    quick: values.quick,
    peers: !values['no-peers'],
    list: values.list,
  };
}

/** Cases of a run. A name that is asked for in full runs with --quick too. */
export function selectCases<T extends { group: string; name: string; quick: boolean }>(
  cases: readonly T[],
  { filter, quick }: Pick<BenchOptions, 'filter' | 'quick'>,
): T[] {
  const wanted = filter.map((word) => word.toLowerCase());
  return cases.filter((item) => {
    const text = `${item.group} ${item.name}`.toLowerCase();
    if (wanted.includes(item.name.toLowerCase())) return true;
    return (!quick || item.quick) && (wanted.length === 0 || wanted.some((word) => text.includes(word)));
  });
}
