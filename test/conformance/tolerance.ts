// How far a float32 result may be from the float64 one. One table of classes (the `tolerance` of bindings/ops.json). A result
// is right when it is the exact answer to nearly the question asked: errors are measured against the result itself and
// against how far the result moves when every input moves by one rounding unit, which the oracle finds out by computing
// both. So a difference of nearly equal numbers is judged by what it was made of, without a bound for each case. Both
// grow with the square root of the longest sum, as rounding errors of random sign do. NaN must meet NaN, and infinity the
// same infinity, in every class.
import { OPS } from '../../ts/backend/ops.gen.js';
import { squaredDistance } from '../support/oracle/rowwise.js';
import type { Case, Values } from './case.js';

/** The float32 epsilon: the rounding unit of everything here. */
export const EPSILON = 2 ** -23;

export interface Tolerance {
  /** Bound on the root mean square error of an operand, in units. */
  readonly norm: number;
  /** Bound on the error of one element, in units. */
  readonly element: number;
}

export const TOLERANCES: Readonly<Record<string, Tolerance>> = {
  exact: { norm: 0, element: 0 },
  elementwise: { norm: 2, element: 8 },
  reduce: { norm: 3, element: 8 },
  attention: { norm: 2, element: 8 },
  optimizer: { norm: 2, element: 8 },
  kmeans: { norm: 2, element: 8 },
};

/**
 * Units of attention with precision 1. It rounds what it has computed, probabilities and gradients of scores: close to a
 * tie float32 and float64 land on different sides, a bf16 unit apart. That is rare, so it may show in an element, hardly
 * in the norm; a factor that is not rounded where it should be shows there.
 */
const ROUNDED_ATTENTION: Tolerance = { norm: 2 ** -14, element: 2 ** -12 };

/** Outputs by operand, as numbers. */
export type Results = Readonly<Record<string, Float64Array>>;

/** What the oracle says: the outputs, and the outputs for inputs that were moved by up to one rounding unit. */
export interface Expected {
  readonly want: Results;
  readonly moved: Results;
}

/** The first disagreement between a device and the oracle, in words; undefined when there is none. */
export function disagreement(item: Case, inputs: Values, expected: Expected, got: Results): string | undefined {
  const spec = OPS[item.op];
  const tolerance = TOLERANCES[spec.tolerance]!;
  for (const operand of spec.operands) {
    const [want, moved, found] = [expected.want[operand.name], expected.moved[operand.name], got[operand.name]];
    if (want === undefined || moved === undefined || found === undefined) continue;
    const integer = operand.dtype === 'i32' || (operand.dtype === 'raw' && item.dims['to'] === 3);
    let message = oddOnesOut(want, found);
    if (message === undefined) {
      if (item.op === 'kmeans_assign' && integer) message = wrongAssignment(item, inputs, want, found, tolerance);
      else if (operand.dtype === 'raw' && item.dims['dtype'] === 1) message = notBeside(want, found);
      else if (integer || tolerance.norm === 0) message = unequal(integer ? want : want.map(Math.fround), found);
      else message = tooFar(want, moved, found, tolerance, Math.sqrt(item.length), unitsOf(item));
    }
    if (message !== undefined) return `${operand.name}${message}`;
  }
  return undefined;
}

/** NaN or infinity on one side only, or another infinity. */
function oddOnesOut(want: Float64Array, got: Float64Array): string | undefined {
  const at = want.findIndex((w, i) => !(Number.isFinite(w) ? Number.isFinite(got[i]) : Object.is(w, got[i])));
  return at < 0 ? undefined : `[${at}] is ${got[at]}, should be ${want[at]}`;
}

function unequal(want: Float64Array, got: Float64Array): string | undefined {
  const at = want.findIndex((w, i) => !Object.is(w, got[i]));
  return at < 0 ? undefined : `[${at}] is ${got[at]}, should be ${want[at]}`;
}

const unitsOf = ({ op, dims }: Case): Tolerance =>
  op.startsWith('attention') && dims['precision'] === 1 ? ROUNDED_ATTENTION : { norm: EPSILON, element: EPSILON };

/** Stochastic rounding to bf16 may take the neighbour on either side; `want` is the nearer one. */
function notBeside(want: Float64Array, got: Float64Array): string | undefined {
  const size = rootMeanSquare(want.map((w) => (Number.isFinite(w) ? w : 0)));
  const at = want.findIndex((w, i) => Math.abs(got[i]! - w) > 2 ** -7 * Math.abs(w) + 8 * EPSILON * size + 2 ** -133);
  return at < 0 ? undefined : `[${at}] is ${got[at]}, should be ${want[at]} or beside it`;
}

function tooFar(
  want: Float64Array,
  moved: Float64Array,
  got: Float64Array,
  tolerance: Tolerance,
  growth: number,
  units: Tolerance,
): string | undefined {
  const finite = (difference: number) => (Number.isFinite(difference) ? difference : 0);
  const size = rootMeanSquare(want.map(finite));
  const sensitivity = rootMeanSquare(want.map((w, i) => finite(moved[i]! - w)));
  const error = want.map((w, i) => finite(got[i]! - w));
  // Below the smallest normal number float32 has no relative precision, and kernels may flush to zero.
  const smallest = 2 ** -126;
  for (let i = 0; i < want.length; i++) {
    const unit = growth * (units.element * (finite(Math.abs(want[i]!)) + size) + sensitivity);
    if (Math.abs(error[i]!) > tolerance.element * unit + smallest) {
      return `[${i}] is ${got[i]}, should be ${want[i]}: off by ${(Math.abs(error[i]!) / unit).toPrecision(3)} units, allowed ${tolerance.element}`;
    }
  }
  const unit = growth * (units.norm * size + sensitivity);
  const total = rootMeanSquare(error);
  return total > tolerance.norm * unit + smallest
    ? ` is off by ${(total / unit).toPrecision(3)} units in norm, allowed ${tolerance.norm}`
    : undefined;
}

/** Where rounding can decide between two centroids either will do; exact equals must go to the first. */
function wrongAssignment(
  item: Case,
  inputs: Values,
  want: Float64Array,
  got: Float64Array,
  tolerance: Tolerance,
): string | undefined {
  const [x, centroids] = [Float64Array.from(inputs['x']!), Float64Array.from(inputs['centroids']!)];
  const { cols = 0, clusters = 0 } = item.dims;
  const origin = new Float64Array(cols);
  for (let r = 0; r < want.length; r++) {
    const [best, chosen] = [want[r]!, got[r]!];
    if (best === chosen) continue;
    if (chosen < 0 || chosen >= clusters) return `[${r}] is ${chosen} of ${clusters} clusters`;
    const distanceTo = (k: number) => squaredDistance(x, r * cols, centroids, k * cols, cols);
    const farther = distanceTo(chosen) - distanceTo(best);
    const size =
      squaredDistance(x, r * cols, origin, 0, cols) + squaredDistance(centroids, best * cols, origin, 0, cols);
    if (!(farther > 0 && farther <= tolerance.element * EPSILON * Math.sqrt(item.length) * size)) {
      return `[${r}] is ${chosen}, should be ${best}: farther by ${farther}`;
    }
  }
  return undefined;
}

function rootMeanSquare(values: Float64Array): number {
  return Math.sqrt(values.reduce((sum, value) => sum + value * value, 0) / Math.max(1, values.length));
}
