// The public exports: their names, and that a program can go the whole way with them alone.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import * as sweetspot from '../../ts/index.js';
import { documents, jsonLines, workplace } from './support.js';

test('exports are added and removed on purpose only', (t) => {
  t.deepEqual(Object.keys(sweetspot).sort(), [
    'Corpus',
    'DenseModel',
    'METHODS',
    'PRESETS',
    'SweetspotError',
    'Tokenizer',
    'buildCorpus',
    'checkedExperiment',
    'clusterCorpus',
    'coverage',
    'createEngine',
    'describeExperiment',
    'domainCorpus',
    'entropy',
    'evaluate',
    'evaluateCorpus',
    'evaluateEnsemble',
    'externalEmbedder',
    'generate',
    'generateText',
    'histogram',
    'listIsas',
    'macroAverage',
    'openBackend',
    'pretrain',
    'readDocuments',
    'readExperiment',
    'readResults',
    'runExperiment',
    'specialize',
    'trainTokenizer',
    'writeReport',
  ]);
});

test('from text to an answer, and to an error with a code', async (t) => {
  const folder = workplace();
  const at = (name: string) => join(folder, name);
  writeFileSync(at('sea.jsonl'), jsonLines(documents('sea', 40, 'library')));
  writeFileSync(at('law.jsonl'), jsonLines(documents('law', 10, 'library')));
  await sweetspot.buildCorpus({ input: at('sea.jsonl'), out: at('corpus'), vocabSize: 290 });
  const backend = sweetspot.openBackend({ threads: 1 });
  try {
    const model = { hiddenSize: 16, layers: 1, heads: 2, contextLength: 32 };
    const options = {
      backend,
      method: 'slm',
      corpus: at('corpus'),
      out: at('run'),
      tokens: 4000,
      batchTokens: 256,
      model,
    } as const;
    const interrupted = await t.throwsAsync(sweetspot.pretrain({ ...options, signal: AbortSignal.abort() }), {
      instanceOf: sweetspot.SweetspotError,
    });
    t.is(interrupted.code, 'SWEETSPOT_ABORTED');
    const stages = new Set<string>();
    const run = await sweetspot.pretrain({ ...options, onProgress: ({ stage }) => stages.add(stage) });
    t.deepEqual([...stages], ['main']);
    t.true(run.loss < Math.log(290));
    await sweetspot.specialize({ backend, run: at('run'), domain: at('sea.jsonl'), out: at('model'), steps: 20 });

    const both = await sweetspot.evaluate({ backend, model: at('model'), text: [at('sea.jsonl'), at('law.jsonl')] });
    const alone = await sweetspot.evaluate({ backend, model: at('model'), text: at('law.jsonl'), batchTokens: 64 });
    t.deepEqual(
      both.domains.map(({ text, documents }) => [text, documents]),
      [
        [at('sea.jsonl'), 40],
        [at('law.jsonl'), 10],
      ],
    );
    t.true(Math.abs(alone.macro.nll - both.domains[1]!.nll) < 1e-6);
    const few = await sweetspot.evaluate({ backend, model: at('model'), text: at('sea.jsonl'), maxTokens: 50 });
    t.true(few.domains[0]!.tokens < 50);

    const dense = sweetspot.DenseModel.load(backend, at('model'));
    const text = await sweetspot.generateText(dense, 'the whale', { maxTokens: 10, temperature: 0 });
    t.true(text.length > 0);
    dense.dispose();
  } finally {
    await backend.close();
  }
});
