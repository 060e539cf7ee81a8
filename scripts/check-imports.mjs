// Directions of imports (ARCHITECTURE.md, "Rooms"): a file may import from its own room and from rooms of a lower level.
// Also: only ts/backend reaches into bindings, nothing imports test or bench, native and assembly include no Node header.
import { readdirSync, readFileSync, statSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const root = path.join(path.dirname(fileURLToPath(import.meta.url)), '..');
/** From the ground up. Rooms on one line may import each other. */
const LEVELS = [
  ['vendor'],
  ['backend'],
  ['tensor'],
  ['autograd', 'program'],
  ['ops'],
  ['nn'],
  ['models', 'optim', 'data', 'io'],
  ['eval', 'train'],
  ['methods', 'serve', 'plan'],
  ['experiment'],
  ['report'],
  ['cli', 'server'],
];
const level = new Map(LEVELS.flatMap((rooms, i) => rooms.map((room) => [room, i])));
const problems = [];

function* files(folder, ending) {
  for (const name of readdirSync(path.join(root, folder))) {
    const file = path.join(folder, name);
    if (statSync(path.join(root, file)).isDirectory()) yield* files(file, ending);
    else if (ending.test(name)) yield file;
  }
}

for (const file of files('ts', /\.ts$/)) {
  const room = file.split(path.sep)[1];
  const text = readFileSync(path.join(root, file), 'utf8');
  for (const [, target] of text.matchAll(/(?:from|import\()\s*'(\.[^']+)'/g)) {
    const to = path.relative(root, path.resolve(root, path.dirname(file), target)).split(path.sep);
    if (to[0] === 'bindings') {
      if (room !== 'backend') problems.push(`${file} imports ${target}: only ts/backend may`);
    } else if (to[0] !== 'ts') problems.push(`${file} imports ${target}: outside ts`);
    else if (file.split(path.sep).length === 2) continue;
    else if (level.get(to[1]) === undefined) problems.push(`${file} imports ${target}: a room without a level`);
    else if (level.get(to[1]) > level.get(room))
      problems.push(`${file} imports ${target}: ${to[1]} lies above ${room}`);
  }
}
/** Whether a TypeScript file imports from beside or above its top folder. */
const outside = (file, text) =>
  [...text.matchAll(/from '(\.[^']+)'/g)].some(
    ([, target]) => !path.join(path.dirname(file), target).startsWith(`${file.split(path.sep)[0]}${path.sep}`),
  );

for (const folder of ['native', 'assembly']) {
  for (const file of files(folder, /\.(cc|h|cu|cuh|ts)$/)) {
    const text = readFileSync(path.join(root, file), 'utf8');
    if (/#include\s*[<"](napi|node_api|node)\b/.test(text) || outside(file, text))
      problems.push(`${file} looks outside its room`);
  }
}
for (const problem of problems) console.error(problem);
process.exit(problems.length > 0 ? 1 : 0);
