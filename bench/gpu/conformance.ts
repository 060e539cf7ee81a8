// The conformance suite on one variant only, spread over processes: node dist/bench/gpu/conformance.js [variant]
// [processes] [ops, separated by commas]. Prints a line an op, cases passed and the first failures; exits with 1 when a case failed. $OUT, when set,
// gets conformance.json.
import { fork } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { CASES } from '../../test/conformance/cases/index.js';
import { check, prepare } from '../../test/conformance/runner.js';
import { VARIANTS } from '../../test/conformance/variants.js';

interface Outcome {
  readonly op: string;
  readonly cases: number;
  readonly failures: readonly string[];
}

/** Failures shown of an op; the rest are in the file. */
const SHOWN = 3;
const [name = 'cuda', given = '6', only = ''] = process.argv.slice(2);
const processes = Number(given);
const chosen = Object.entries(CASES).filter(([op]) => only === '' || only.split(',').includes(op));

/** Every `processes`-th case of every op, from the `share`-th on. */
async function work(share: number): Promise<Outcome[]> {
  const variant = VARIANTS.find((candidate) => candidate.name === name);
  if (variant === undefined) throw new Error(`no variant ${name}: ${VARIANTS.map((v) => v.name).join(', ')}`);
  const backend = variant.open(2);
  const outcomes: Outcome[] = [];
  for (const [op, all] of chosen) {
    const cases = all.filter((_, i) => i % processes === share);
    const failures: string[] = [];
    for (const item of cases) {
      const message = await check(await prepare(item), [backend]).catch((error: Error) => error.message);
      if (message !== undefined) failures.push(`${item.name}: ${message}`);
    }
    outcomes.push({ op, cases: cases.length, failures });
  }
  await backend.close();
  return outcomes;
}

if (process.send !== undefined) {
  const outcomes = await work(Number(process.env['SHARE']));
  process.send(outcomes, () => process.exit(0));
} else {
  const began = performance.now();
  const shares = await Promise.all(
    Array.from({ length: processes }, (_, share) => {
      const child = fork(fileURLToPath(import.meta.url), [name, given, only], {
        env: { ...process.env, SHARE: String(share) },
      });
      return new Promise<Outcome[]>((resolve, reject) => {
        let outcomes: Outcome[] | undefined;
        child.on('message', (message) => {
          outcomes = message as Outcome[];
        });
        child.on('exit', (code) =>
          outcomes === undefined ? reject(new Error(`process ${share} ended with ${code}`)) : resolve(outcomes),
        );
      });
    }),
  );
  const table = chosen.map(([op]): Outcome => {
    const parts = shares.map((share) => share.find((outcome) => outcome.op === op)!);
    return {
      op,
      cases: parts.reduce((sum, part) => sum + part.cases, 0),
      failures: parts.flatMap((part) => part.failures),
    };
  });
  for (const { op, cases, failures } of table) {
    console.log(`${op.padEnd(20)} ${cases - failures.length} of ${cases}`);
    for (const failure of failures.slice(0, SHOWN)) console.log(`    ${failure}`);
  }
  const failed = table.reduce((sum, { failures }) => sum + failures.length, 0);
  console.log(`${name}: ${failed} cases failed, ${((performance.now() - began) / 1000).toFixed(0)} s`);
  const out = process.env['OUT'];
  if (out !== undefined) writeFileSync(path.join(out, 'conformance.json'), JSON.stringify({ variant: name, table }));
  process.exit(failed > 0 ? 1 : 0);
}
