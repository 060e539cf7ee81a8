// Size of the weights that a run serves: root mean square of every kind of matrix, layer by layer; of a run with experts those of
// all experts mixed evenly.
//   node dist/bench/norms.js <run folder> ...
import { openBackend } from '../ts/backend/index.js';
import { expertValues, hasExperts } from '../ts/methods/choose.js';
import { openRun } from '../ts/methods/run.js';
import { toText } from '../ts/report/table.js';

const rms = (values: Float32Array): number =>
  Math.sqrt(values.reduce((sum, value) => sum + value * value, 0) / values.length);

const backend = openBackend();
for (const folder of process.argv.slice(2)) {
  const run = openRun(folder);
  const { clusters } = run.config;
  const even = hasExperts(run) ? new Array<number>(clusters).fill(1 / clusters) : null;
  const kinds = new Map<string, number[]>();
  for (const [name, values] of await expertValues(backend, run, even)) {
    const kind = name.replace(/^layers\.\d+\./, '');
    kinds.set(kind, [...(kinds.get(kind) ?? []), rms(values)]);
  }
  const rows = Array.from(kinds, ([kind, layers]) => [kind, layers.map((value) => value.toFixed(3)).join(' ')]);
  console.log(`${folder}\n${toText({ head: ['weights', 'root mean square, by layer'], rows })}\n`);
}
await backend.close();
