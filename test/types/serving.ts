// Types of serving: engines, generation, models, backends, errors.
import {
  type Backend,
  type BackendOptions,
  createEngine,
  DenseModel,
  type Engine,
  type EngineInfo,
  type EngineOptions,
  type ErrorCode,
  type Evaluation,
  type GenerateOptions,
  type generate,
  generateText,
  type listIsas,
  openBackend,
  SweetspotError,
} from '../../ts/index.js';
import { any, type Equal, expect } from './expect.js';

export async function engines(): Promise<void> {
  expect<Equal<ReturnType<typeof createEngine>, Promise<Engine>>>();
  expect<Equal<Parameters<typeof createEngine>, [options: EngineOptions]>>();
  await using engine = await createEngine({ model: 'models/mine' });
  await createEngine({ model: any<DenseModel>(), sequences: 2, queue: 0, signal: any<AbortSignal>() });
  await createEngine({ model: 'm', backend: any<Backend>() });
  await createEngine({ model: 'm', backend: { backend: 'cpu', threads: 2 } });
  await createEngine({ model: 'm', backend: undefined, sequences: undefined });
  // @ts-expect-error a model is needed
  await createEngine({});
  // @ts-expect-error options are needed
  await createEngine();
  // @ts-expect-error no such option
  await createEngine({ model: 'm', maxQueue: 3 });
  // @ts-expect-error a number
  await createEngine({ model: 'm', sequences: '2' });
  // @ts-expect-error options of a backend, not its name
  await createEngine({ model: 'm', backend: 'cpu' });

  const pieces = engine.generate('The', { maxTokens: 3, seed: 'a', stop: ['x'], signal: any<AbortSignal>() });
  expect<Equal<typeof pieces, AsyncGenerator<string, void, undefined>>>();
  for await (const piece of pieces) expect<Equal<typeof piece, string>>();
  await using _left = engine.generate(any<Uint32Array>());
  // @ts-expect-error no such option
  engine.generate('The', { max_tokens: 3 });
  // @ts-expect-error text or ids
  engine.generate(['The']);
  expect<Equal<ReturnType<Engine['generateText']>, Promise<string>>>();
  expect<Equal<ReturnType<Engine['perplexity']>, Promise<Evaluation>>>();
  // @ts-expect-error only a signal
  await engine.perplexity('The', { batchTokens: 3 });
  expect<Equal<typeof engine.info, EngineInfo>>();
  // @ts-expect-error read only
  engine.info.waiting = 3;
  expect<Equal<ReturnType<Engine['close']>, Promise<void>>>();
  expect<Equal<Parameters<Engine['generate']>[1], GenerateOptions | undefined>>();
}

export async function models(): Promise<void> {
  await using backend = openBackend();
  using model = DenseModel.load(backend, 'models/mine');
  expect<Equal<ReturnType<typeof DenseModel.open>, Promise<DenseModel>>>();
  // @ts-expect-error made by load, open and fromValues
  new DenseModel();
  // @ts-expect-error read only
  model.config = any<DenseModel['config']>();
  expect<Equal<ReturnType<typeof generate>, AsyncGenerator<string, void, undefined>>>();
  expect<Equal<ReturnType<typeof generateText>, Promise<string>>>();
  // @ts-expect-error a number
  await generateText(model, 'The', { temperature: 'hot' });
}

export function backends(): void {
  expect<Equal<ReturnType<typeof openBackend>, Backend>>();
  expect<Equal<BackendOptions['matmul'], 'fp32' | 'tf32' | 'bf16' | undefined>>();
  expect<Equal<Backend['name'], 'cpu' | 'cuda' | 'wasm' | 'oracle'>>();
  // @ts-expect-error no such backend
  openBackend({ backend: 'gpu' });
  // @ts-expect-error no such option
  openBackend({ thread: 2 });
  expect<Equal<ReturnType<typeof listIsas>, string[]>>();
}

export function errors(error: unknown): string {
  if (!(error instanceof SweetspotError)) return '';
  expect<Equal<typeof error.code, ErrorCode>>();
  expect<Equal<typeof error.fix, string | undefined>>();
  const busy: ErrorCode = 'SWEETSPOT_BUSY';
  // @ts-expect-error no such code
  if (error.code === 'SWEETSPOT_TIRED') return '';
  return busy;
}
