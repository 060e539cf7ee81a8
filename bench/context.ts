// What every group of benches gets, and the way from timed contenders to rows of a report.
import type { Backend } from '../ts/backend/index.js';
import { type Contender, interleave, type Measured } from './measure.js';
import type { Peers } from './peers.js';
import type { Result } from './result.js';
import { better, type Reading, type RoofMeter } from './roof.js';

export interface Context {
  readonly backend: Backend;
  readonly meter: RoofMeter;
  readonly peers: Peers;
  /** Turns of every contender. */
  readonly rounds: number;
  readonly quick: boolean;
  /** Rows without figures: what, and why. */
  readonly skip: (what: string, why: string) => void;
}

/** One piece of work; `group` and `name` are what --filter looks at. */
export interface BenchCase {
  readonly group: string;
  readonly name: string;
  /** Part of --quick. */
  readonly quick: boolean;
  readonly run: (context: Context) => Promise<Result[]>;
}

/** What a row says whoever did the work. */
export interface Work {
  readonly name: string;
  readonly op: string;
  readonly shape: string;
  readonly dtype: string;
  /** Figure for `seconds` of one unit of work. */
  readonly value: (seconds: number) => number;
  readonly unit: Result['unit'];
  /** Seconds that the roof allows; null where none applies. */
  readonly ideal: (roof: Reading) => number | null;
}

export interface Entrant extends Contender {
  readonly peer: string | null;
  readonly backend: string;
}

export const backendName = ({ name, capabilities }: Backend): string => `${name}/${capabilities.isa}`;

/** Times all entrants in turns between two readings of the roofs. Those that fail are skipped by name. */
export async function compete(context: Context, work: Work, entrants: readonly Entrant[]): Promise<Result[]> {
  const before = await context.meter.measure();
  const measured = await interleave(work.name, entrants, context.rounds);
  const roof = better(before, await context.meter.measure());
  return entrants.flatMap((entrant, i) => row(context, work, entrant, measured[i]!, roof));
}

function row(context: Context, work: Work, entrant: Entrant, measured: Measured, roof: Reading): Result[] {
  const { name, op, shape, dtype, unit } = work;
  const { median, spread, failure } = measured;
  if (failure !== undefined || !(median > 0)) {
    context.skip(`${name}, ${entrant.name}`, failure ?? 'no time');
    return [];
  }
  const ideal = work.ideal(roof);
  return [
    {
      name,
      op,
      shape,
      dtype,
      threads: context.backend.capabilities.threads,
      backend: entrant.backend,
      peer: entrant.peer,
      value: work.value(median),
      unit,
      shareOfRoof: ideal === null ? null : ideal / median,
      spread,
    },
  ];
}

export const ours = (context: Context, contender: Contender): Entrant => ({
  ...contender,
  peer: null,
  backend: backendName(context.backend),
});

/** Work on less than this may stay in caches, which virtual machines share and report too small: no share of the memory roof. */
export const CACHED_BYTES = 192 * 2 ** 20;
/** FLOPs a byte below which work is counted in bytes. */
const MEMORY_BOUND = 8;

/** Unit and roof of work by what it computes and moves. */
export function rate(flops: number, bytes: number, dtype: string): Pick<Work, 'value' | 'unit' | 'ideal'> {
  if (flops > MEMORY_BOUND * bytes) {
    return {
      unit: 'GFLOP/s',
      value: (seconds) => flops / seconds / 1e9,
      ideal: (roof) => {
        const peak = dtype === 'bf16' ? roof.bf16 : roof.fp32;
        return peak === null ? null : flops / 1e9 / peak;
      },
    };
  }
  return {
    unit: 'GB/s',
    value: (seconds) => bytes / seconds / 1e9,
    ideal: (roof) => (bytes < CACHED_BYTES ? null : bytes / 1e9 / roof.read),
  };
}
