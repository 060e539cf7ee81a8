// A program of somebody else in TypeScript, against the packed package: every type resolves without help, as an ES module and
// by require(), and `exports` lets nothing else in.
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import test from 'ava';
import { install, pack, root, run } from './support.js';

const MODULE = `import {
  type Backend,
  buildCorpus,
  DenseModel,
  type ErrorCode,
  type Experiment,
  generate,
  openBackend,
  pretrain,
  type Results,
  readResults,
  type RunResult,
  SweetspotError,
} from 'sweetspot';

export async function job(signal: AbortSignal): Promise<string> {
  const backend: Backend = openBackend({ backend: 'auto', threads: 2 });
  const { tokens }: { readonly tokens: number } = await buildCorpus({ input: 'a.txt', out: 'corpus', signal });
  const run: RunResult = await pretrain({ backend, method: 'projected', corpus: 'corpus', tokens, out: 'run', signal });
  const model = DenseModel.load(backend, 'model');
  let text = String(run.loss);
  for await (const piece of generate(model, 'The', { maxTokens: 3 })) text += piece;
  const { results }: { results: Results } = readResults('grid');
  const first: number | undefined = results.rows[0]?.after?.perplexity;
  return text + String(first);
}

export const codeOf = (error: unknown): ErrorCode | undefined => (error instanceof SweetspotError ? error.code : undefined);
export const name = (experiment: Experiment): string => experiment.systems[0]!.name;

// @ts-expect-error there is no such backend
openBackend({ backend: 'gpu' });
`;
const COMMON = `import sweetspot = require('sweetspot');
export const isas: string[] = sweetspot.listIsas();
`;

test('types resolve, import and require work', (t) => {
  const { folder } = install('consumer', [pack()], { flags: ['--ignore-scripts'] });
  mkdirSync(path.join(folder, 'node_modules/@types'));
  symlinkSync(path.join(root, 'node_modules/@types/node'), path.join(folder, 'node_modules/@types/node'));
  writeFileSync(path.join(folder, 'module.ts'), MODULE);
  writeFileSync(path.join(folder, 'common.cts'), COMMON);
  const compilerOptions = {
    target: 'es2022',
    lib: ['es2023', 'esnext.disposable'],
    module: 'nodenext',
    types: ['node'],
    strict: true,
    exactOptionalPropertyTypes: true,
    // Of the package too: a type of something that is not installed must not hide as any.
    skipLibCheck: false,
    noEmit: true,
  };
  writeFileSync(
    path.join(folder, 'tsconfig.json'),
    JSON.stringify({ compilerOptions, files: ['module.ts', 'common.cts'] }),
  );
  const tsc = run(process.execPath, [path.join(root, 'node_modules/typescript/bin/tsc'), '-p', folder], folder);
  t.is(tsc.status, 0, tsc.stdout + tsc.stderr);

  const node = (...args: string[]) => run(process.execPath, args, folder);
  const imported = node('--input-type=module', '-e', `console.log(typeof (await import('sweetspot')).openBackend)`);
  t.is(imported.stdout, 'function\n', imported.stderr);
  if (process.features.require_module) {
    const required = node('--input-type=commonjs', '-e', `console.log(typeof require('sweetspot').openBackend)`);
    t.is(required.stdout, 'function\n', required.stderr);
  }
  const inside = node('--input-type=module', '-e', `await import('sweetspot/dist/ts/verbs.js')`);
  t.regex(inside.stderr, /ERR_PACKAGE_PATH_NOT_EXPORTED/);
});
