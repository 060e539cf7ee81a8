// Compiles every CPU kernel for 64-bit ARM when a cross compiler is there (Debian: g++-aarch64-linux-gnu); says so when not.
import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const compiler = process.env.SWEETSPOT_NEON_CXX ?? 'aarch64-linux-gnu-g++';
if (spawnSync(compiler, ['--version']).status !== 0) {
  console.log(`skipped: no ${compiler}`);
  process.exit(0);
}
const files = readdirSync(`${root}/native/cpu/kernels`).filter((file) => file.endsWith('.cc'));
const flags = '-std=c++20 -fsyntax-only -Wall -Wextra -Werror -ffp-contract=off -fno-math-errno -Inative'.split(' ');
let failed = 0;
for (const file of ['native/cpu/table.cc', ...files.map((file) => `native/cpu/kernels/${file}`)]) {
  const { status } = spawnSync(compiler, [...flags, '-DSWEETSPOT_ISA=neon', '-DSWEETSPOT_ISA_NEON', file], {
    cwd: root,
    stdio: 'inherit',
  });
  if (status !== 0) failed++;
}
console.log(failed === 0 ? `${files.length + 1} files compile for NEON` : `${failed} files do not compile for NEON`);
process.exitCode = failed === 0 ? 0 : 1;
