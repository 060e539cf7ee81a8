// The CUDA library compiles and links with nvcc alone, for every architecture, and knows the scratch memory of its rows without a GPU.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import test from 'ava';
import { encodeRow } from '../../ts/backend/rows.js';
import { gemmDims } from '../conformance/cases/gemm.js';
import { CASES } from '../conformance/cases/index.js';
import { projectRoot } from '../conformance/coverage.js';
import { drawInputs } from '../conformance/generators.js';
import { layOut } from '../conformance/layout.js';

const root = projectRoot();
const missing = ['cmake', 'nvcc', 'cc'].find((name) => spawnSync(name, ['--version']).status !== 0);

(missing === undefined ? test : test.skip)(
  `the library compiles and links, and the dry pass of every op works${missing === undefined ? '' : `: no ${missing}`}`,
  (t) => {
    t.timeout(900_000);
    const run = (command: string, ...args: string[]) => {
      const { status, stdout, stderr } = spawnSync(command, args, { cwd: root, encoding: 'utf8' });
      t.is(status, 0, `${command} ${args.join(' ')}\n${stdout}${stderr}`);
      return stdout;
    };
    const build = path.join(root, 'build', 'nvcc');
    run('cmake', '-S', root, '-B', build, '-DSWEETSPOT_CUDA=ON', '-DCMAKE_BUILD_TYPE=Release');
    run('cmake', '--build', build, '--parallel', '2', '--target', 'sweetspot_cuda');
    const folder = mkdtempSync(path.join(tmpdir(), 'sweetspot-nvcc-'));
    t.teardown(() => rmSync(folder, { recursive: true }));
    const program = path.join(folder, 'dry_run');
    run('cc', '-I', 'native', '-o', program, 'test/cuda/dry_run.c', '-ldl');
    // Every op at its smallest and largest case, and a product that is cut along K: 9 parts of 64 x 64.
    const rows = Object.values(CASES).flatMap((cases) =>
      [cases[0]!, cases.at(-1)!].map((item) => layOut(item, drawInputs(item)).words(0)),
    );
    const at = { buffer: 0, offset: 0 };
    rows.push(encodeRow('gemm', { a: at, b: at, c: at }, gemmDims(64, 64, 2304), { alpha: 1 }));
    const file = path.join(folder, 'rows');
    writeFileSync(file, Buffer.concat(rows.map((words) => Buffer.from(Uint32Array.of(words.length, ...words).buffer))));
    const bytes = run(program, path.join(build, 'sweetspot_cuda.so'), file).trim().split('\n').map(Number);
    t.is(bytes.length, rows.length);
    t.is(bytes.at(-1), 9 * 64 * 64 * 4);
  },
);
