// How long a specialist of a soup takes to make: histogram of a domain that is tokenized and embedded, weights of its model,
// and the model on the backend, ready to be served. Values are random; what is timed does not depend on them.
//   node dist/bench/instantiate.js [--width 256] [--clusters 64] [--slices 16] [--tokens 1M] [--rounds 9]
import { parseArgs } from 'node:util';
import { openBackend } from '../ts/backend/index.js';
import { count } from '../ts/cli/numbers.js';
import { histogram } from '../ts/data/clusters.js';
import { assign } from '../ts/data/kmeans.js';
import { bankParameters, instantiate } from '../ts/models/bank.js';
import { bankConfig, transformerConfig } from '../ts/models/config.js';
import { bankParameterCount, denseParameterCount } from '../ts/models/cost.js';
import { transformerParameters } from '../ts/models/transformer.js';
import { ParameterSet } from '../ts/nn/parameters.js';
import { Prng } from '../ts/tensor/prng.js';
import { median } from './measure.js';

const { values: flags } = parseArgs({
  options: {
    width: { type: 'string', default: '256' },
    clusters: { type: 'string', default: '64' },
    slices: { type: 'string', default: '16' },
    tokens: { type: 'string', default: '1M' },
    rounds: { type: 'string', default: '9' },
  },
});
const whole = (name: 'width' | 'clusters' | 'slices' | 'tokens' | 'rounds') => count(`--${name}`)(flags[name]);
const DIMENSIONS = 64;
const experts = whole('clusters');
const model = transformerConfig({ vocabSize: 8192, hiddenSize: whole('width'), layers: 4, heads: 4 });
const bank = bankConfig(model, { experts, slices: whole('slices'), conditioning: 'histogram' });
const windows = Math.ceil(whole('tokens') / model.contextLength);

const backend = openBackend();
const random = new Prng(1);
const normals = (n: number) => Float32Array.from({ length: n }, () => random.normal());
const [embeddings, centroids] = [normals(windows * DIMENSIONS), normals(experts * DIMENSIONS)];
const soup = new ParameterSet(backend, bankParameters(model, bank), { trainable: false });
soup.initialize(1);
await backend.fence();

const seconds: number[] = [];
for (let round = 0; round < whole('rounds'); round++) {
  const began = performance.now();
  const { ids } = await assign(backend, embeddings, windows, DIMENSIONS, centroids, experts);
  const condition = Float32Array.from(histogram(ids, experts));
  const values = await instantiate(backend, model, bank, soup, condition);
  const served = new ParameterSet(backend, transformerParameters(model), { trainable: false });
  values.forEach((v, name) => {
    served.write(name, v);
  });
  await backend.fence();
  seconds.push((performance.now() - began) / 1000);
  served.dispose();
}
const spread = [Math.min(...seconds), Math.max(...seconds)].map((s) => s.toFixed(3));
console.log(
  `${(denseParameterCount(model) / 1e6).toFixed(1)}M parameters at inference, ${(bankParameterCount(model, bank) / 1e6).toFixed(1)}M in the soup, ` +
    `${experts} clusters, ${windows} windows: ${median(seconds).toFixed(3)} s (${spread.join(' to ')})`,
);
soup.dispose();
await backend.close();
