// Writes docs/coverage.md: which op has a kernel on which kind of device, and how many cases hold it to the oracle. It reads
// the op table, the cases and the kernel sources, never the machine, so the file is the same everywhere. Run it after
// changing any of them: node dist/test/conformance/coverage.js
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { OPS } from '../../ts/backend/ops.gen.js';
import type { Case } from './case.js';
import { CASES } from './cases/index.js';
import { TOLERANCES } from './tolerance.js';
import { VARIANTS } from './variants.js';

/** The project's folder: the nearest one above with an op table, from the sources or from dist/. */
export function projectRoot(): string {
  let folder = path.dirname(fileURLToPath(import.meta.url));
  while (!existsSync(path.join(folder, 'bindings/ops.json'))) {
    const parent = path.dirname(folder);
    if (parent === folder) throw new Error('no folder with bindings/ops.json above this file');
    folder = parent;
  }
  return folder;
}

/** Names of functions defined in the files of a folder; empty when there is no such folder. */
function definedIn(folder: string): Set<string> {
  if (!existsSync(folder)) return new Set();
  const texts = readdirSync(folder).map((file) => readFileSync(path.join(folder, file), 'utf8'));
  return new Set(
    texts.flatMap((text) =>
      [
        ...text.matchAll(/\b(\w+)\(Context& ctx, const \w+Row&/g),
        ...text.matchAll(/export function (\w+)\(row: \w+Row\)/g),
      ].map((match) => match[1]!),
    ),
  );
}

/** The text of docs/coverage.md. */
export function coverage(root: string): string {
  const kernels = new Map(VARIANTS.map((variant) => [variant, definedIn(path.join(root, variant.kernels))]));
  const table = Object.values(OPS).map((spec) => {
    const cases: readonly Case[] | undefined = (CASES as Readonly<Record<string, readonly Case[]>>)[spec.name];
    const cells = VARIANTS.map((variant) => (kernels.get(variant)!.has(spec.name) ? 'kernel' : '-'));
    return [spec.name, spec.tolerance, cases === undefined ? 'not checked' : `${cases.length}`, ...cells];
  });
  const total = Object.values(CASES).reduce((sum, cases) => sum + cases.length, 0);
  return `${[
    '# Coverage',
    '',
    'Written by `node dist/test/conformance/coverage.js` from the op table, the cases and the kernel sources; a test fails when it is out of date.',
    '',
    '`kernel`: the device has its own kernel. `-`: it has none yet. Every op with a kernel is held to the float64 oracle by',
    `test/conformance, ${total} cases in all; ops that only measure the machine are not.`,
    '',
    ...markdown(['op', 'tolerance', 'cases', ...VARIANTS.map((variant) => variant.name)], table),
    '',
    'Tolerances, in float32 epsilons times the square root of the longest sum:',
    '',
    ...markdown(
      ['class', 'norm', 'element'],
      Object.entries(TOLERANCES).map(([name, { norm, element }]) => [name, `${norm}`, `${element}`]),
    ),
  ].join('\n')}\n`;
}

const markdown = (head: readonly string[], rows: readonly (readonly string[])[]): string[] =>
  [head, head.map(() => '---'), ...rows].map((row) => `| ${row.join(' | ')} |`);

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  writeFileSync(path.join(projectRoot(), 'docs/coverage.md'), coverage(projectRoot()));
}
