// Products whose every element is checked, against float64: C r = A (B r) and l C = (l A) B for random r and l, which takes
// m n + m k + k n steps and says in which rows and columns the wrong elements lie.
import { bf16ToF32, f32ToBf16 } from '../../ts/tensor/float16.js';
import { Prng } from '../../ts/tensor/prng.js';
import { type Device, row } from './device.js';

/** Rows of a result that lie behind each other in c, and the factors that make them: c = op(a) op(b). */
interface Block {
  readonly m: number;
  readonly n: number;
  readonly k: number;
  readonly transA: boolean;
  readonly transB: boolean;
  /** Where they begin in the pool, in floats, and how long a row of each is there. */
  readonly a: number;
  readonly b: number;
  readonly lda: number;
  readonly ldb: number;
}

/** What is wrong with a result, or the largest error over the root mean square of what was expected. */
export type Verdict = { readonly wrong: string } | { readonly error: number };

/** Errors of good results stay well below: of bf16 numbers a few times 2^-8, of float32 what tensor cores cut off. */
const ALLOWED = { f32: 1e-4, bf16: 2.5e-2 };
/** Floats behind a result that must stay as they are. */
const GUARD = 1024;

const align = (floats: number) => Math.ceil(floats / 16) * 16;

/** "3 to 17 of 20" */
function extent(bad: readonly number[], all: number): string {
  return bad.length === 0 ? 'none' : `${bad.length} of ${all}, ${bad[0]} to ${bad.at(-1)}`;
}

export class Products {
  readonly #values: Float32Array;

  constructor(
    readonly device: Device,
    readonly floats: number,
  ) {
    this.#values = bf16ToF32(f32ToBf16(device.block));
  }

  /** One product of a layout: 'NN', 'NT', 'TN' or 'TT'. */
  gemm(layout: string, [m, n, k]: readonly [number, number, number], output: 'f32' | 'bf16'): Promise<Verdict> {
    const [transA, transB] = [layout[0] === 'T', layout[1] === 'T'];
    const leading = { lda: transA ? m : k, ldb: transB ? k : n, ldc: n, strideA: 0, strideB: 0, strideC: 0 };
    const dims = { batch: 1, m, n, k, transA: Number(transA), transB: Number(transB), ...leading, precision: 1 };
    const [a, b] = [0, align(m * k)];
    const block = { m, n, k, transA, transB, a, b, lda: leading.lda, ldb: leading.ldb };
    return this.#run([block], output, (c) => row('gemm', { ...this.#factors(a, b), c }, dims, { alpha: 1 }));
  }

  /** Rows of `sizes` groups, each with a matrix of its own. */
  grouped(sizes: readonly number[], n: number, k: number, transB: boolean, output: 'f32' | 'bf16'): Promise<Verdict> {
    const { rows, offsets, first } = this.#groups(sizes);
    const b = align(rows * k);
    const blocks = sizes.map((m, g): Block => {
      return { m, n, k, transA: false, transB, a: first[g]! * k, b: b + g * n * k, lda: k, ldb: transB ? k : n };
    });
    const dims = { groups: sizes.length, rows, n, k, transB: Number(transB), precision: 1 };
    return this.#run(blocks, output, (c) => row('grouped_gemm', { ...this.#factors(0, b), offsets, c }, dims, {}));
  }

  /** Their weight gradient: groups of m x n behind each other. */
  groupedGradient(sizes: readonly number[], m: number, n: number, output: 'f32' | 'bf16'): Promise<Verdict> {
    const { rows, offsets, first } = this.#groups(sizes);
    const b = align(rows * m);
    const blocks = sizes.map((k, g): Block => {
      const [from, to] = [first[g]! * m, b + first[g]! * n];
      return { m, n, k, transA: true, transB: false, a: from, b: to, lda: m, ldb: n };
    });
    const dims = { groups: sizes.length, rows, m, n, precision: 1 };
    return this.#run(blocks, output, (dw) => row('grouped_gemm_dw', { ...this.#factors(0, b), offsets, dw }, dims, {}));
  }

  #factors(a: number, b: number) {
    const buffer = this.device.pool(this.floats);
    return { a: { buffer, offset: 4 * a }, b: { buffer, offset: 4 * b } };
  }

  #groups(sizes: readonly number[]) {
    const first = [0];
    for (const size of sizes) first.push(first.at(-1)! + size);
    return { rows: first.at(-1)!, offsets: this.device.ints(first), first };
  }

  async #run(
    blocks: readonly Block[],
    output: 'f32' | 'bf16',
    make: (c: { buffer: number; offset: number }) => Uint32Array,
  ): Promise<Verdict> {
    const { device } = this;
    const size = blocks.reduce((sum, { m, n }) => sum + m * n, 0);
    const c = device.place(4 * (size + GUARD));
    device.once([row('fill', { y: c }, { n: size + GUARD }, { value: Number.NaN })]);
    const words = [make(c)];
    if (output === 'bf16') {
      // Where nothing but a product reads what lies in the arena, it is there in bf16 alone.
      const square = { m: 4, n: 4, k: 4, lda: 4, ldb: 4, ldc: 4, strideA: 0, strideB: 0, strideC: 0 };
      const dims = { batch: 1, ...square, transA: 0, transB: 1, precision: 1 };
      words.push(row('gemm', { a: c, b: c, c: device.place(64) }, dims, { alpha: 1 }));
    }
    const kept = output === 'bf16' ? [] : [0, 4 * size];
    const all = Uint32Array.from(words.flatMap((one) => [...one]));
    const program = device.backend.compile({ words: all, arena: c.buffer, kept });
    device.backend.run(program);
    const bytes = (await device.backend.read(c.buffer, 0, 4 * (size + GUARD))).slice();
    device.backend.release(program);
    device.free();
    const end = output === 'bf16' ? 2 * size : 4 * size;
    const poison = new Uint8Array(Float32Array.of(Number.NaN).buffer);
    const stray = bytes.findIndex((byte, i) => i >= end && byte !== poison[i % 4]);
    if (stray >= 0) return { wrong: `wrote ${stray - end} bytes behind its end` };
    const found =
      output === 'bf16' ? bf16ToF32(new Uint16Array(bytes.buffer, 0, size)) : new Float32Array(bytes.buffer);
    let [at, error] = [0, 0];
    for (const [i, block] of blocks.entries()) {
      const verdict = this.#compare(block, found.subarray(at, at + block.m * block.n), ALLOWED[output]);
      if ('wrong' in verdict) return { wrong: blocks.length === 1 ? verdict.wrong : `group ${i}: ${verdict.wrong}` };
      error = Math.max(error, verdict.error);
      at += block.m * block.n;
    }
    return { error };
  }

  #compare(block: Block, c: Float32Array, allowed: number): Verdict {
    const { m, n, k, transA, transB, a, b, lda, ldb } = block;
    const random = new Prng('vectors');
    const vector = (length: number) => Float64Array.from({ length }, () => random.normal());
    const [right, left] = [vector(n), vector(m)];
    const matrix = (from: number, ld: number, transposed: boolean) => {
      const values = this.#values;
      return transposed
        ? (i: number, j: number) => values[(from + j * ld + i) % values.length]!
        : (i: number, j: number) => values[(from + i * ld + j) % values.length]!;
    };
    const [x, y] = [matrix(a, lda, transA), matrix(b, ldb, transB)];
    const times = (of: (i: number, j: number) => number, rows: number, by: Float64Array) =>
      Float64Array.from({ length: rows }, (_, i) => by.reduce((sum, value, j) => sum + of(i, j) * value, 0));
    const flip = (of: (i: number, j: number) => number) => (i: number, j: number) => of(j, i);
    const got = (i: number, j: number) => c[i * n + j]!;
    const rows = distance(times(x, m, times(y, k, right)), times(got, m, right), allowed);
    const columns = distance(times(flip(y), n, times(flip(x), k, left)), times(flip(got), n, left), allowed);
    const error = Math.max(rows.error, columns.error);
    if (rows.bad.length === 0 && columns.bad.length === 0) return { error };
    return { wrong: `rows ${extent(rows.bad, m)}; columns ${extent(columns.bad, n)}` };
  }
}

/** Where `got` is not what was wanted, and by how much at most. NaN is wrong. */
function distance(want: Float64Array, got: Float64Array, allowed: number): { error: number; bad: readonly number[] } {
  const size = Math.sqrt(want.reduce((sum, value) => sum + value * value, 0) / want.length) || 1;
  const errors = want.map((value, i) => Math.abs(value - got[i]!) / size);
  const bad = [...errors.keys()].filter((i) => !(errors[i]! <= allowed));
  return { error: errors.reduce((most, one) => Math.max(most, one), 0), bad };
}
