// Softmax-routed mixture layers, end to end on generated topics. Routing is alive when tokens are spread, topics go to experts of
// their own, and the experts have something different to say; when it is not, figures and warnings must say so.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import test from 'ava';
import { type Backend, openBackend } from '../../ts/backend/index.js';
import { pretrainWarnings, specializeWarnings } from '../../ts/cli/warnings.js';
import { buildCorpus, Corpus, domainCorpus } from '../../ts/data/corpus.js';
import { Sampler } from '../../ts/data/sampler.js';
import { cutWindows } from '../../ts/data/windows.js';
import { chooseExpert, evaluateValues } from '../../ts/methods/choose.js';
import { evaluate } from '../../ts/methods/evaluate.js';
import { type PretrainOptions, pretrain } from '../../ts/methods/pretrain.js';
import { openRun, type RunResult } from '../../ts/methods/run.js';
import { specialize } from '../../ts/methods/specialize.js';
import { type TransformerConfig, transformerConfig } from '../../ts/models/config.js';
import { denseParameterCount, forwardFlops } from '../../ts/models/cost.js';
import { DenseModel } from '../../ts/models/dense.js';
import { routedNames } from '../../ts/models/moe.js';
import { transformer, transformerParameters } from '../../ts/models/transformer.js';
import { ParameterSet } from '../../ts/nn/parameters.js';
import { ADAMW } from '../../ts/optim/adamw.js';
import { Program } from '../../ts/program/program.js';
import { generateText } from '../../ts/serve/generate.js';
import { bufferTensor } from '../../ts/tensor/tensor.js';
import { type BalanceSettings, balanceSettings } from '../../ts/train/balance.js';
import { runStage } from '../../ts/train/stage.js';
import { documents } from '../support/topics.js';

const TOPICS = ['sea', 'law', 'kitchen'] as const;
const SIZES = { hiddenSize: 32, layers: 2, heads: 2, intermediateSize: 64, contextLength: 32 };
const EXPERTS = 4;

const root = mkdtempSync(path.join(tmpdir(), 'sweetspot-routed-'));
const at = (name: string) => path.join(root, name);
let backend: Backend;
test.before(async () => {
  backend = openBackend();
  writeFileSync(at('generic.jsonl'), TOPICS.map((topic) => documents(topic, 60, 1)).join(''));
  for (const topic of TOPICS) writeFileSync(at(`${topic}.jsonl`), documents(topic, 20, 2));
  await buildCorpus({ input: at('generic.jsonl'), out: at('corpus'), vocabSize: 300 });
});
test.after.always(async () => {
  await backend.close();
  rmSync(root, { recursive: true });
});

/** A run, once in one go and once interrupted, which must give the same bits. */
async function pretrainTwice(
  name: string,
  more: Partial<PretrainOptions>,
): Promise<{ result: RunResult; same: boolean }> {
  const call = (out: string, control: Partial<PretrainOptions> = {}) =>
    pretrain({
      backend,
      method: 'routed',
      corpus: at('corpus'),
      out: at(out),
      tokens: 120 * 1024,
      model: SIZES,
      batchTokens: 1024,
      ...more,
      ...control,
    });
  const result = await call(name);
  const abort = new AbortController();
  const onProgress = ({ done }: { done: number }) => {
    if (done >= 70 * 1024) abort.abort();
  };
  await call(`${name}-parts`, { signal: abort.signal, onProgress }).catch((error) => {
    if (error.code !== 'SWEETSPOT_ABORTED') throw error;
  });
  const again = await call(`${name}-parts`);
  const bytes = (out: string, file: string) => readFileSync(at(`${out}/${file}`));
  const same =
    bytes(name, 'weights/main.safetensors').equals(bytes(`${name}-parts`, 'weights/main.safetensors')) &&
    bytes(name, 'metrics.jsonl').equals(bytes(`${name}-parts`, 'metrics.jsonl')) &&
    JSON.stringify(again.facts) === JSON.stringify(result.facts);
  return { result, same };
}

/** Share of the choices of every expert of the last layer on a text. */
async function loadsOn(
  config: TransformerConfig,
  values: ReadonlyMap<string, Float32Array>,
  text: Corpus,
): Promise<number[]> {
  const [rows, time] = [512, config.contextLength];
  const parameters = new ParameterSet(backend, transformerParameters(config), { trainable: false });
  for (const [name, value] of values) parameters.write(name, value);
  const ids = new Int32Array(2 * rows);
  text.read(0, rows, ids, 0);
  for (let i = 0; i < rows; i++) ids[rows + i] = i % time;
  const buffer = backend.alloc(ids.byteLength);
  backend.write(buffer, 0, new Uint8Array(ids.buffer));
  const input = (offset: number) => bufferTensor('input', [rows / time, time], 'i32', { buffer, offset });
  const program = Program.record(backend, 'loads', (t) => {
    transformer(config, parameters, input(0), input(4 * rows), {
      watch: ({ offsets }, layer) => t.output(String(layer), offsets),
    });
  });
  program.run();
  const offsets = new Int32Array((await program.read(String(config.layers - 1))).slice().buffer);
  program.release();
  parameters.dispose();
  backend.free(buffer);
  return Array.from({ length: offsets.length - 1 }, (_, e) => (offsets[e + 1]! - offsets[e]!) / offsets.at(-1)!);
}

test.serial('routed: alive, specialised, the same bits after an interrupt, a Mixtral folder', async (t) => {
  const { result, same } = await pretrainTwice('mixtral', {
    moe: { experts: EXPERTS },
    muon: {},
    zeroOutputs: true,
    schedule: 'wsd',
  });
  t.true(same);
  const run = openRun(at('mixtral'));
  const { model } = run.config;
  const { facts } = result;
  t.true(facts['loadEntropy']! > 0.8 * Math.log(EXPERTS), `entropy of the load ${facts['loadEntropy']}`);
  t.is(facts['deadExperts'], 0);
  t.deepEqual(pretrainWarnings(result), []);
  t.is(result.inferenceParameters, denseParameterCount(model));
  t.true(facts['activeParameters']! < result.inferenceParameters);
  const line = JSON.parse(readFileSync(at('mixtral/metrics.jsonl'), 'utf8').trim().split('\n').at(-1)!);
  t.true(line.loadEntropy > 0 && line.largestLoad >= 1 && line.balanceLoss >= 0.9 && line.zLoss > 0);

  const texts = await Promise.all(TOPICS.map((topic) => domainCorpus(at(`${topic}.jsonl`), run.tokenizer, {})));
  const { values } = await chooseExpert(backend, run, texts[0]!, 'histogram');
  const loads = await Promise.all(texts.map((text) => loadsOn(model, values, text)));
  const apart = loads[0]!.reduce((sum, load, e) => sum + Math.abs(load - loads[1]![e]!) / 2, 0);
  t.true(apart > 0.05, `loads of two topics differ by ${apart}`);

  // With their mean in place of each, experts know less together than apart.
  const equal = new Map(values);
  for (const l of model.moe!.layers) {
    for (const name of [routedNames(l).gateUp, routedNames(l).down]) {
      const own = values.get(name)!;
      const size = own.length / EXPERTS;
      equal.set(
        name,
        own.map((_, i) => {
          let mean = 0;
          for (let e = 0; e < EXPERTS; e++) mean += own[e * size + (i % size)]! / EXPERTS;
          return mean;
        }),
      );
    }
  }
  for (const text of texts) {
    const [apart, alike] = [
      await evaluateValues(backend, run, values, text),
      await evaluateValues(backend, run, equal, text),
    ];
    t.true(apart.nll < alike.nll, `${apart.nll} with experts, ${alike.nll} with their mean`);
  }

  const done = await specialize({ backend, run: at('mixtral'), domain: at('law.jsonl'), out: at('law'), steps: 5 });
  t.is(done.architecture, 'MixtralForCausalLM');
  t.true(done.after.nll <= done.before.nll);
  const served = DenseModel.load(backend, at('law'));
  t.true((await generateText(served, 'The court', { maxTokens: 20, seed: 1 })).length > 0);
  served.dispose();
  t.is(backend.allocated(), 0);
});

test.serial(
  'Switch with a shared expert and a steered choice: a folder of our own, adapters leave experts alone',
  async (t) => {
    const { result, same } = await pretrainTwice('switch', {
      moe: { experts: EXPERTS, topK: 1, normalize: false, width: 32, sharedWidth: 32, layers: [1] },
      balance: { kind: 'bias', rate: 0.01 },
    });
    t.true(same);
    t.true(result.facts['loadEntropy']! > 0.8 * Math.log(EXPERTS));
    const run = openRun(at('switch'));
    const text = await domainCorpus(at('law.jsonl'), run.tokenizer, {});
    const { values } = await chooseExpert(backend, run, text, 'histogram');
    const bias = values.get(routedNames(1).bias)!;
    t.true(bias.some((b) => b !== 0) && bias.every((b) => Math.abs(b / 0.01 - Math.round(b / 0.01)) < 1e-2), `${bias}`);

    const call = (out: string, more = {}) =>
      specialize({ backend, run: at('switch'), domain: at('law.jsonl'), out: at(out), steps: 5, ...more });
    const whole = await call('switch-law');
    t.is(whole.architecture, 'SweetspotRoutedForCausalLM');
    t.regex(specializeWarnings(whole, 'histogram', undefined).join(), /only sweetspot reads/);
    await call('switch-lora', { lora: { rank: 2 }, learningRate: 0.01 });
    const [tuned, adapted] = ['switch-law', 'switch-lora'].map((name) => DenseModel.load(backend, at(name)));
    for (const name of [routedNames(1).gateUp, routedNames(1).bias])
      t.deepEqual(await adapted!.parameters.read(name), values.get(name), name);
    t.notDeepEqual(await adapted!.parameters.read(routedNames(1).sharedDown), values.get(routedNames(1).sharedDown));
    t.notDeepEqual(await tuned!.parameters.read(routedNames(1).gateUp), values.get(routedNames(1).gateUp));
    for (const model of [tuned, adapted]) model!.dispose();
    const measured = await evaluate({ backend, model: at('switch-law'), text: at('law.jsonl') });
    t.true(Number.isFinite(measured.macro.perplexity));
    t.is(backend.allocated(), 0);
  },
);

/** A stage of 60 steps that starts with the whole load on one expert, `push` ahead of the others. */
async function collapsed(push: number, balance: BalanceSettings) {
  using corpus = Corpus.open(at('corpus'));
  const config = transformerConfig({
    ...SIZES,
    vocabSize: corpus.tokenizer().vocabSize,
    moe: { experts: EXPERTS, topK: 1, normalize: false, biased: true, layers: [1] },
  });
  const parameters = new ParameterSet(backend, transformerParameters(config), { trainable: true });
  parameters.initialize(1);
  parameters.write(
    routedNames(1).bias,
    Float32Array.from({ length: EXPERTS }, (_, e) => (e === 2 ? push : 0)),
  );
  const windows = cutWindows(corpus, config.contextLength);
  const { loads } = await runStage(backend, {
    stage: 'collapse',
    model: { config, parameters, balance },
    sampler: new Sampler({ corpus, windows, batch: 16, contextLength: config.contextLength, seed: 1 }),
    shape: { batch: 16, time: config.contextLength },
    steps: 60,
    adamw: ADAMW,
    schedule: { shape: 'constant', peak: 0.003, warmup: 1, floor: 1 },
  });
  parameters.dispose();
  return loads!;
}

test.serial('a collapse is reported, and a steered choice gets out of one', async (t) => {
  const stuck = await collapsed(1000, balanceSettings({ kind: 'none' }));
  t.deepEqual(stuck, { loadEntropy: 0, largestLoad: EXPERTS, deadExperts: (EXPERTS - 1) / EXPERTS });
  const warnings = pretrainWarnings({ facts: { experts: EXPERTS, ...stuck } } as unknown as RunResult);
  t.regex(warnings.join(), /75.0% of the routed experts had no token in the last 50 steps/);
  const freed = await collapsed(1, balanceSettings({ kind: 'bias', rate: 0.05 }));
  t.true(freed.loadEntropy > 0.8 * Math.log(EXPERTS) && freed.deadExperts === 0, JSON.stringify(freed));
});

test('a token costs what the dense block costs, the router apart', (t) => {
  const sizes = { ...SIZES, vocabSize: 300, intermediateSize: 64 };
  const dense = transformerConfig(sizes);
  const routed = transformerConfig({ ...sizes, moe: {} });
  t.is(routed.moe!.width, 32);
  t.is(forwardFlops(routed) - forwardFlops(dense), 2 * 2 * 8 * 32);
  t.deepEqual(transformerConfig(routed), routed);
});
