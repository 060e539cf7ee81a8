// Seconds of k-means at the size of a real corpus, beside what its multiplications alone would take. Run it with
// `node dist/bench/kmeans.js [rows] [dimensions] [clusters] [rounds]`; defaults 100000 256 64 20.
// The start (k-means++) and the rounds are timed apart, because only the rounds grow with clusters x rows.

import { openBackend } from '../ts/backend/index.js';
import { kmeans } from '../ts/data/kmeans.js';
import { Prng } from '../ts/tensor/prng.js';

const REPEATS = 3;
const [rows = 100_000, cols = 256, clusters = 64, rounds = 20] = process.argv.slice(2).map(Number);

const backend = openBackend();
const { isa, threads } = backend.capabilities;
// Loose groups, so that no round is the last one before `rounds`.
const prng = new Prng(1);
const centres = Float32Array.from({ length: clusters * cols }, () => prng.normal());
const x = new Float32Array(rows * cols);
for (let i = 0; i < rows; i++) {
  const group = prng.int(clusters);
  for (let j = 0; j < cols; j++) x[i * cols + j] = centres[group * cols + j]! + 3 * prng.normal();
}

const totals: number[] = [];
const perRound: number[] = [];
for (let repeat = 0; repeat < REPEATS; repeat++) {
  const began = performance.now();
  let firstRound = 0;
  const result = await kmeans(backend, x, {
    rows,
    cols,
    clusters,
    rounds,
    tolerance: 0,
    seed: repeat,
    onProgress: ({ stage, done }) => {
      if (stage === 'round' && done === 0) firstRound = performance.now();
    },
  });
  const ended = performance.now();
  totals.push((ended - began) / 1000);
  perRound.push((ended - firstRound) / 1000 / result.rounds);
}
const median = (values: number[]) => values.toSorted((a, b) => a - b)[values.length >> 1]!;
const spread = (values: number[]) => `${Math.min(...values).toFixed(3)}-${Math.max(...values).toFixed(3)}`;
const gflops = (2 * rows * cols * clusters) / median(perRound) / 1e9;
console.log(`k-means ${rows} x ${cols}, k = ${clusters}, ${rounds} rounds, ${backend.name}/${isa}, ${threads} threads`);
console.log(`  total     ${median(totals).toFixed(3)} s (${spread(totals)})`);
console.log(
  `  per round ${median(perRound).toFixed(3)} s (${spread(perRound)}), ${gflops.toFixed(1)} GFLOP/s of distances`,
);
await backend.close();
