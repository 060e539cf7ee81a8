// One training step of ours in a process of its own, so that its peak memory is its own. Arguments and answers are those of
// peers/torch_step.py: node dist/bench/step_child.js '{"vocab":8192,"width":256,...}', then {"samples": n} on stdin.
import { createInterface } from 'node:readline';
import { openBackend } from '../ts/backend/index.js';
import { bankParameters } from '../ts/models/bank.js';
import { bankConfig, transformerConfig } from '../ts/models/config.js';
import { transformerParameters } from '../ts/models/transformer.js';
import { ParameterSet } from '../ts/nn/parameters.js';
import { ADAMW } from '../ts/optim/adamw.js';
import { Prng } from '../ts/tensor/prng.js';
import { TrainStep } from '../ts/train/step.js';
import { precisionOptions, type StepArguments } from './step_sizes.js';

const given = JSON.parse(process.argv[2]!) as StepArguments;
const { vocab, width, inner, layers, heads, time, batch, slices, experts, groups } = given;
const backend = openBackend({ backend: 'cpu', isa: given.isa, threads: given.threads });
const config = transformerConfig({
  vocabSize: vocab,
  hiddenSize: width,
  intermediateSize: inner,
  layers,
  heads,
  contextLength: time,
});
const bank = slices > 0 ? bankConfig(config, { slices, experts }) : undefined;
const specs = bank === undefined ? transformerParameters(config) : bankParameters(config, bank);
const parameters = new ParameterSet(backend, specs, { trainable: true });
parameters.initialize(1);
const step = new TrainStep(backend, { config, bank, parameters }, { batch, time, ...precisionOptions(given) }, ADAMW);
const random = new Prng(1);
const ids = () => Int32Array.from({ length: batch * time }, () => random.int(vocab));
const data = {
  tokens: ids(),
  targets: ids(),
  clusters: Int32Array.from({ length: batch }, (_, i) => Math.floor((i * groups) / batch)),
  count: batch * time,
};

let t = 0;
let loss = 0;
async function seconds(): Promise<number> {
  const began = performance.now();
  ({ loss } = await step.run(data, 1e-3, ++t));
  return (performance.now() - began) / 1000;
}

const say = (line: object) => process.stdout.write(`${JSON.stringify(line)}\n`);
const { isa, threads } = backend.capabilities;
say({ peer: 'sweetspot', version: 'here', kernel: isa, threads, parameters: parameters.count });
for await (const line of createInterface({ input: process.stdin })) {
  const { samples } = JSON.parse(line) as { samples: number };
  const times: number[] = [];
  for (let i = 0; i < samples; i++) times.push(await seconds());
  say({ seconds: times, peakBytes: process.resourceUsage().maxRSS * 1024, loss });
}
await backend.close();
