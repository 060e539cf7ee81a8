// Training on WebAssembly beside the addon: from the same seed every method has the same losses, up to rounding that grows from step
// to step; weights and unfinished runs of one are taken up by the other; both write the same text.
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { wasmIsas } from '../../bindings/wasm/node.js';
import { type Backend, listIsas, openBackend } from '../../ts/backend/index.js';
import { clusterCorpus } from '../../ts/data/clusters.js';
import { buildCorpus, domainCorpus } from '../../ts/data/corpus.js';
import { chooseExpert, evaluateValues } from '../../ts/methods/choose.js';
import { evaluate } from '../../ts/methods/evaluate.js';
import { type PretrainOptions, pretrain } from '../../ts/methods/pretrain.js';
import { openRun } from '../../ts/methods/run.js';
import { type SpecializeOptions, specialize } from '../../ts/methods/specialize.js';
import { DenseModel } from '../../ts/models/dense.js';
import { generateText } from '../../ts/serve/generate.js';
import { documents } from '../support/topics.js';

const TOPICS = ['sea', 'law', 'kitchen'] as const;
const SIZES = { layers: 2, heads: 2, contextLength: 32 };
const STEPS = 36;
const BATCH = 256;

/** Relative differences of losses that rounding may grow to in STEPS steps, and of what is computed once from equal weights. */
const GROWN = 2 ** -15;
const ONCE = 2 ** -22;
/** Of slices in bf16: a difference in the last bit of a weight now and then rounds it to the other neighbour. */
const GROWN_BF16 = 2 ** -12;

type Kind = Pick<PretrainOptions, 'method'> & Partial<PretrainOptions>;
const KINDS: Readonly<Record<string, Kind>> = {
  'a plain model, AdamW': { method: 'slm' },
  'a plain model, Muon': { method: 'slm', muon: {}, zeroOutputs: true, schedule: 'wsd' },
  'a projected network': { method: 'projected', clusters: 3, bank: { slices: 4 } },
  'a projected network, slices in bf16': { method: 'projected', clusters: 3, bank: { slices: 4, sliceType: 'bf16' } },
  'a soup of experts': {
    method: 'soup',
    clusters: 3,
    bank: { slices: 4, mlpWidth: 16 },
    mixtures: { count: 4, support: [1, 2] },
  },
  'a routed model': { method: 'routed', moe: { experts: 4 } },
};

const root = mkdtempSync(path.join(tmpdir(), 'sweetspot-wasm-'));
const at = (name: string) => path.join(root, name);
test.after.always(() => rmSync(root, { recursive: true }));

/** Why nothing can be compared here; undefined when it can. */
function obstacle(): string | undefined {
  const { isas, failures } = wasmIsas();
  if (isas.length === 0) return failures.join('; ');
  return listIsas().length === 0 ? 'no addon' : undefined;
}

const skipped = obstacle();
if (skipped !== undefined) {
  test('training on WebAssembly', (t) => {
    t.log(`skipped: ${skipped}`);
    t.pass();
  });
} else {
  const isa = ['avx2', 'neon'].find((one) => listIsas().includes(one)) ?? 'scalar';
  const native = openBackend({ backend: 'cpu', isa });
  const wasm = openBackend({ backend: 'wasm' });
  test.before(prepare, native);
  for (const [name, kind] of Object.entries(KINDS))
    test.serial(`pretraining is the same on both: ${name}`, pretraining, native, wasm, name, kind);
  test.serial('fine-tuning is the same on both, and so is what models are and write', finetuning, native, wasm);
  test.after(async (t) => {
    for (const backend of [native, wasm]) {
      await backend.fence();
      t.is(backend.allocated(), 0);
      await backend.close();
    }
  });
}

async function prepare(_: ExecutionContext, backend: Backend): Promise<void> {
  writeFileSync(at('generic.jsonl'), TOPICS.map((topic) => documents(topic, 40, 1)).join(''));
  writeFileSync(at('law.jsonl'), documents('law', 20, 2));
  await buildCorpus({ input: at('generic.jsonl'), out: at('corpus'), vocabSize: 300 });
  await clusterCorpus(backend, at('corpus'), { clusters: 3, contextLength: SIZES.contextLength, dimensions: 8 });
}

/** A run to its end, or until `stop` steps are done. */
async function train(backend: Backend, out: string, kind: Kind, width = 32, stop?: number): Promise<void> {
  const abort = new AbortController();
  const done = pretrain({
    backend,
    corpus: at('corpus'),
    out: at(out),
    tokens: STEPS * BATCH,
    model: { ...SIZES, hiddenSize: width, intermediateSize: 2 * width },
    batchTokens: BATCH,
    precision: 'fp32',
    seed: 1,
    ...kind,
    signal: abort.signal,
    onProgress: (progress) => {
      if (stop !== undefined && progress.done >= stop * BATCH) abort.abort();
    },
  });
  await done.catch((error) => {
    if (error.code !== 'SWEETSPOT_ABORTED') throw error;
  });
}

/** Every step's loss of a run. */
const lossesOf = (out: string): number[] =>
  readFileSync(at(`${out}/metrics.jsonl`), 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line).loss);

/** The largest difference of two lists, as a share of the number. */
function drift(a: readonly number[], b: readonly number[]): number {
  if (a.length !== b.length) return Number.POSITIVE_INFINITY;
  return Math.max(...a.map((x, i) => Math.abs(x - b[i]!) / Math.abs(b[i]!)));
}

function close(t: ExecutionContext, what: string, a: readonly number[], b: readonly number[], limit: number): void {
  const difference = drift(a, b);
  t.log(`${what}: ${difference === 0 ? 'no difference' : `2^${Math.log2(difference).toFixed(1)}`}`);
  t.true(difference <= limit, `${what} differ by ${difference}, allowed ${limit}:\n${a}\n${b}`);
}

async function pretraining(t: ExecutionContext, native: Backend, wasm: Backend, name: string, kind: Kind) {
  const folder = (place: string) => `${name}, ${place}`;
  await train(native, folder('native'), kind);
  await train(wasm, folder('wasm'), kind);
  for (const [place, first, second] of [
    ['native, then wasm', native, wasm],
    ['wasm, then native', wasm, native],
  ] as const) {
    await train(first, folder(place), kind, 32, STEPS / 3);
    t.false(existsSync(at(`${folder(place)}/result.json`)));
    await train(second, folder(place), kind);
  }
  const losses = lossesOf(folder('native'));
  const limit = kind.bank?.sliceType === 'bf16' ? GROWN_BF16 : GROWN;
  t.is(losses.length, STEPS);
  t.true(losses.at(-1)! < 0.9 * losses[0]!, 'it learns');
  for (const place of ['wasm', 'native, then wasm', 'wasm, then native'])
    close(t, `losses, ${place}`, lossesOf(folder(place)), losses, limit);

  // A run's model for a domain: the choice of it, its weights and what it predicts.
  for (const place of ['native', 'wasm']) {
    const run = openRun(at(folder(place)));
    const text = await domainCorpus(at('law.jsonl'), run.tokenizer, {});
    const [here, there] = [native, wasm].map(async (backend) => {
      const { values } = await chooseExpert(backend, run, text, 'histogram');
      return (await evaluateValues(backend, run, values, text)).nll;
    });
    close(t, `a domain's loss, weights of ${place}`, [await there!], [await here!], ONCE);
  }
}

async function finetuning(t: ExecutionContext, native: Backend, wasm: Backend): Promise<void> {
  await train(native, 'small', { method: 'slm' });
  await train(native, 'large', { method: 'slm' }, 64);
  const law = { domain: at('law.jsonl'), steps: 24, batchTokens: BATCH };
  await specialize({ backend: native, run: at('large'), out: at('teacher'), ...law });
  const kinds: Readonly<Record<string, Partial<SpecializeOptions>>> = {
    'all parameters': {},
    adapters: { lora: { rank: 4 } },
    distillation: { teacher: at('teacher'), distillation: { weight: 0.7, topK: 8 } },
  };
  for (const [name, kind] of Object.entries(kinds)) {
    const tune = async (backend: Backend, place: string) => {
      const losses: number[] = [];
      const onProgress: SpecializeOptions['onProgress'] = ({ stage, loss }) => {
        if (stage === 'finetune') losses.push(loss!);
      };
      const out = at(`${name}, ${place}`);
      const { before, after } = await specialize({ backend, run: at('small'), out, ...law, ...kind, onProgress });
      t.true(after.nll < before.nll, `${name} on ${place} learns`);
      return [before.nll, ...losses, after.nll];
    };
    close(t, `losses, ${name}`, await tune(wasm, 'wasm'), await tune(native, 'native'), GROWN);

    for (const place of ['native', 'wasm']) {
      const model = at(`${name}, ${place}`);
      const measure = (backend: Backend) => evaluate({ backend, model, text: at('law.jsonl') });
      const [here, there] = [(await measure(native)).macro.nll, (await measure(wasm)).macro.nll];
      close(t, `loss of a folder, ${name} on ${place}`, [there], [here], ONCE);
      // Logits that differ by rounding choose another token only where the draw falls on a border between two.
      const write = async (backend: Backend, seed: number) => {
        const loaded = DenseModel.load(backend, model);
        const text = await generateText(loaded, 'The court', { maxTokens: 60, seed });
        loaded.dispose();
        return text;
      };
      for (const seed of [1, 2]) t.is(await write(wasm, seed), await write(native, seed), `seed ${seed}`);
    }
  }
}
