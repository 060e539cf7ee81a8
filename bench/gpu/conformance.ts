// The conformance suite on CUDA, spread over processes: node dist/bench/gpu/conformance.js [variants] [processes] [ops].
// Variants and ops are separated by commas. 'cuda' (the default) is every op in float32; 'cuda/tf32' and 'cuda/bf16' are the
// products alone, with factors that have no more bits than these keep, so that results must be as near as in float32. Any
// other variant of the suite works too. Prints a line an op, cases passed and the first failures; exits with 1 when a case
// failed. $OUT, when set, gets conformance.json.
//
// A kernel that hangs or ruins its context takes its process along, not the rest of the cases: each process says how far
// it is, and one that is silent or lost is followed by another, which goes on with the next op. Told to stop, the program
// reports what it has.
import { type ChildProcess, fork } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Case } from '../../test/conformance/case.js';
import { CASES } from '../../test/conformance/cases/index.js';
import { uniform } from '../../test/conformance/generators.js';
import { check, prepare } from '../../test/conformance/runner.js';
import { VARIANTS } from '../../test/conformance/variants.js';
import { type Backend, openBackend } from '../../ts/backend/index.js';
import { bf16ToF32, f32ToBf16 } from '../../ts/tensor/float16.js';

/** Failures shown of an op; the rest are in the file. */
const SHOWN = 3;
/** Milliseconds that a case may take, its oracle included. */
const PATIENCE = 30_000;
/** Processes in a row that do not get through a single case, before their share is given up. */
const STRIKES = 3;
/** Ops that multiply as the backend was opened to. */
const PRODUCTS = ['gemm', 'grouped_gemm', 'grouped_gemm_dw'];

const [names = 'cuda', given = '6', only = ''] = process.argv.slice(2);
const processes = Number(given);

/** To 11 significant bits. */
function roundToTf32(values: Float32Array): Float32Array {
  const words = new Uint32Array(values.slice().buffer);
  return new Float32Array(words.map((word) => (word + 0x0fff + ((word >>> 13) & 1)) & ~0x1fff).buffer);
}
const ROUND: Readonly<Record<string, (values: Float32Array) => Float32Array>> = {
  'cuda/tf32': roundToTf32,
  'cuda/bf16': (values) => bf16ToF32(f32ToBf16(values)),
};

interface Job {
  readonly variant: string;
  readonly item: Case;
}

/** The same list in every process. */
const jobs = names.split(',').flatMap((variant): Job[] => {
  const round = ROUND[variant];
  return Object.entries(CASES).flatMap(([op, cases]) => {
    if (only !== '' && !only.split(',').includes(op)) return [];
    if (round === undefined) return cases.map((item) => ({ variant, item }));
    if (!PRODUCTS.includes(op)) return [];
    return cases
      .filter(({ dims }) => dims['precision'] === 0)
      .map((item) => ({ variant, item: { ...item, inputs: { ...item.inputs, ...rounded(item, round) } } }));
  });
});

function rounded(item: Case, round: (values: Float32Array) => Float32Array): Case['inputs'] {
  const factor = (name: string) => (draw: Parameters<Case['inputs'][string]>[0]) =>
    round(Float32Array.from((item.inputs[name] ?? uniform(-1, 1))(draw)));
  return { a: factor('a'), b: factor('b') };
}

function open(name: string): Backend {
  if (name in ROUND) return openBackend({ backend: 'cuda', matmul: name.slice(5) as 'tf32' | 'bf16' });
  const variant = VARIANTS.find((candidate) => candidate.name === name);
  if (variant === undefined) throw new Error(`no variant ${name}: ${VARIANTS.map((v) => v.name).join(', ')}`);
  return variant.open(2);
}

/** What a process says after each case: its number, and what is wrong. `lost`: nothing will work here any more. */
interface Word {
  readonly done: number;
  readonly failure: string | undefined;
  readonly lost: boolean;
}

/** Every `processes`-th job from the `share`-th on, those before `start` left out. */
async function work(share: number, start: number): Promise<void> {
  let opened: { name: string; backend: Backend } | undefined;
  for (let i = share; i < jobs.length; i += processes) {
    if (i < start) continue;
    const { variant, item } = jobs[i]!;
    if (opened?.name !== variant) {
      await opened?.backend.close();
      opened = { name: variant, backend: open(variant) };
    }
    const failure = await check(await prepare(item), [opened.backend]).catch((error: Error) => error.message);
    const lost = failure?.includes('CUDA could not') ?? false;
    await new Promise((resolve) => process.send!({ done: i, failure, lost } satisfies Word, resolve));
    // To be killed: with its context in ruins it may not manage to leave.
    if (lost) return;
  }
  await opened?.backend.close();
  process.exit(0);
}

/** What came of each job so far: undefined is well. */
const outcomes = new Map<number, string | undefined>();

/** Sees to it that all jobs of a share are done. */
async function supervise(share: number): Promise<void> {
  const all = Array.from({ length: Math.ceil((jobs.length - share) / processes) }, (_, i) => share + i * processes);
  let next = 0;
  for (let strikes = 0; next < all.length && strikes < STRIKES; ) {
    const child = fork(fileURLToPath(import.meta.url), process.argv.slice(2), {
      env: { ...process.env, SHARE: String(share), START: String(all[next]) },
    });
    const begun = next;
    let lost = false;
    const reason = await follow(child, (said) => {
      outcomes.set(said.done, said.failure);
      next = all.indexOf(said.done) + 1;
      lost = said.lost;
      if (lost) child.kill('SIGKILL');
    });
    strikes = next === begun ? strikes + 1 : 0;
    if (next === all.length) break;
    if (!lost && reason !== undefined) outcomes.set(all[next++]!, reason);
    else if (!lost) continue;
    // Its other cases would end the same way.
    const culprit = jobs[all[next - 1]!]!;
    for (; next < all.length; next++) {
      const { variant, item } = jobs[all[next]!]!;
      if (variant !== culprit.variant || item.op !== culprit.item.op) break;
      outcomes.set(all[next]!, 'not run: a case before it lost its process');
    }
  }
}

/** Resolves when the process is gone: with a reason, unless it left on its own account. */
function follow(child: ChildProcess, word: (said: Word) => void): Promise<string | undefined> {
  return new Promise((resolve) => {
    let reason: string | undefined;
    const stop = () => {
      reason = `no answer in ${PATIENCE / 1000} s`;
      child.kill('SIGKILL');
    };
    let timer = setTimeout(stop, PATIENCE);
    child.on('message', (message) => {
      clearTimeout(timer);
      timer = setTimeout(stop, PATIENCE);
      word(message as Word);
    });
    child.on('exit', (code, signal) => {
      clearTimeout(timer);
      resolve(code === 0 ? undefined : (reason ?? `its process ended with ${code ?? signal}`));
    });
  });
}

/** Prints and writes the table, and ends with 1 unless all is well. */
function finish(began: number): never {
  const table: { variant: string; op: string; cases: number; failures: string[] }[] = [];
  jobs.forEach(({ variant, item }, i) => {
    let line = table.at(-1);
    if (line?.variant !== variant || line.op !== item.op) {
      line = { variant, op: item.op, cases: 0, failures: [] };
      table.push(line);
    }
    line.cases++;
    const failure = outcomes.has(i) ? outcomes.get(i) : 'not run';
    if (failure !== undefined) line.failures.push(`${item.name}: ${failure}`);
  });
  for (const { variant, op, cases, failures } of table) {
    console.log(`${variant.padEnd(10)} ${op.padEnd(24)} ${cases - failures.length} of ${cases}`);
    for (const failure of failures.slice(0, SHOWN)) console.log(`    ${failure}`);
  }
  const failed = table.reduce((sum, { failures }) => sum + failures.length, 0);
  const seconds = (performance.now() - began) / 1000;
  console.log(`${names}: ${failed} of ${jobs.length} cases failed, ${seconds.toFixed(0)} s`);
  const out = process.env['OUT'];
  if (out !== undefined) writeFileSync(path.join(out, 'conformance.json'), JSON.stringify({ seconds, table }));
  process.exit(failed > 0 ? 1 : 0);
}

if (process.send !== undefined) {
  process.on('disconnect', () => process.exit(1));
  await work(Number(process.env['SHARE']), Number(process.env['START']));
} else {
  const began = performance.now();
  process.on('SIGTERM', () => finish(began));
  await Promise.all(Array.from({ length: Math.min(processes, jobs.length) }, (_, i) => supervise(i)));
  finish(began);
}
