// Builds the CUDA backend for the CPU (test/emulator) into build/emulator, beside a copy of the addon: SWEETSPOT_ADDON pointed at that
// copy gives a device that runs the CUDA kernels without a GPU. With the address sanitizer where the compiler has it; node must then start
// with its library preloaded. Prints, as JSON, {addon, env} to run with, or {reason} when it cannot be built here.
import { spawnSync } from 'node:child_process';
import { copyFileSync, existsSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const root = path.join(path.dirname(fileURLToPath(import.meta.url)), '..');

/** What `command` printed, or undefined when it failed. */
function output(command, ...args) {
  const { status, stdout } = spawnSync(command, args, { encoding: 'utf8' });
  return status === 0 ? stdout.trim() : undefined;
}

function build() {
  const built = path.join(root, 'build/Release/sweetspot.node');
  if (!existsSync(built)) return { reason: 'the addon was not built here' };
  if (output('cmake', '--version') === undefined) return { reason: 'no CMake' };
  const library = output('c++', '-print-file-name=libasan.so');
  const sanitize = library !== undefined && path.isAbsolute(library) && existsSync(library);
  const folder = path.join(root, 'build/emulator');
  for (const args of [
    ['-S', path.join(root, 'test/emulator'), '-B', folder, `-DSANITIZE=${sanitize ? 'ON' : 'OFF'}`],
    ['--build', folder, '--parallel', '2'],
  ]) {
    const { status, stdout, stderr } = spawnSync('cmake', args, { encoding: 'utf8' });
    if (status !== 0) throw new Error(`cmake ${args.join(' ')} failed\n${stdout}${stderr}`);
  }
  const addon = path.join(folder, 'sweetspot.node');
  copyFileSync(built, addon);
  // Stacks of fibers are not those that the checks of leaks and of dead stack frames know.
  const checks = { LD_PRELOAD: library, ASAN_OPTIONS: 'detect_leaks=0:detect_stack_use_after_return=0' };
  return { addon, env: { SWEETSPOT_ADDON: addon, ...(sanitize ? checks : {}) } };
}

console.log(JSON.stringify(build()));
