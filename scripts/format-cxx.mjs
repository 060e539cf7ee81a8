// clang-format over native/, bindings/ and test/emulator/: checks, or rewrites with --write. Generated files are left alone.
import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const root = path.join(path.dirname(fileURLToPath(import.meta.url)), '..');
const files = ['native', 'bindings', 'test/emulator'].flatMap((folder) =>
  readdirSync(path.join(root, folder), { recursive: true })
    .filter((name) => /\.(cc|h|cu|cuh)$/.test(name) && !name.includes('.gen.'))
    .map((name) => path.join(folder, name)),
);
const mode = process.argv.includes('--write') ? ['-i'] : ['--dry-run', '-Werror'];
const bin = path.join(root, 'node_modules', '.bin', 'clang-format');
process.exit(spawnSync(bin, [...mode, ...files], { cwd: root, stdio: 'inherit' }).status ?? 1);
