// How many bytes the rows of a Program move on a GPU: asked of the CUDA library, which plans what is kept in bf16. That takes no
// GPU, but a C compiler.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { loadAddon, packageRoot, type RowList } from '../../ts/backend/index.js';
import { ABSENT, type DecodedRow, decodeRows } from '../../ts/backend/rows.js';

/** Bytes of a row, each operand once in the form or forms that it is taken in, and of the kernels that round for it. */
export interface Moved {
  readonly row: DecodedRow;
  readonly bytes: number;
  readonly rounding: number;
}

/** Where nvcc is, there is a compiler that it calls. */
const COMPILERS = ['cc', 'gcc', 'clang', 'nvcc'];

function run(command: string, args: readonly string[]): string {
  const { status, stdout, stderr, error } = spawnSync(command, args, { encoding: 'utf8', maxBuffer: 1 << 28 });
  if (status !== 0) throw new Error(`${command}: ${error?.message ?? stderr}`);
  return stdout;
}

/** The library beside the addon, which need not find a device. Products of precision 0 are in fp32. */
export function countBytes({ words, arena = ABSENT, kept = [] }: RowList): { rows: Moved[]; copies: number } {
  const loaded = loadAddon();
  if (!('path' in loaded)) throw new Error(loaded.failures.join('; '));
  const compiler = COMPILERS.find((name) => spawnSync(name, ['--version']).status === 0);
  if (compiler === undefined) throw new Error(`no C compiler: ${COMPILERS.join(', ')}`);
  const folder = mkdtempSync(path.join(tmpdir(), 'sweetspot-bytes-'));
  try {
    const [root, program, file] = [packageRoot(), path.join(folder, 'count_bytes'), path.join(folder, 'rows')];
    run(compiler, ['-I', path.join(root, 'native'), '-o', program, path.join(root, 'bench/gpu/count_bytes.c'), '-ldl']);
    const head = Uint32Array.of(arena, 0, kept.length / 2, words.length);
    const ranges = BigUint64Array.from(kept.map(BigInt));
    writeFileSync(file, Buffer.concat([head, ranges, words].map((part) => new Uint8Array(part.slice().buffer))));
    const library = path.join(path.dirname(loaded.path), 'sweetspot_cuda.so');
    const [copies, ...lines] = run(program, [library, file]).trim().split('\n');
    const rows = [...decodeRows(words)].map((row, i) => {
      const [bytes, rounding] = lines[i]!.split(' ').map(Number);
      return { row, bytes: bytes!, rounding: rounding! };
    });
    return { rows, copies: Number(copies) };
  } finally {
    rmSync(folder, { recursive: true });
  }
}
