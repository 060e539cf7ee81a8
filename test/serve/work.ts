// What every thread of workers.test.ts asks of its engine.
import type { BackendOptions, Engine, Evaluation } from '../../ts/index.js';
import { TEXTS } from '../support/models.js';

export interface Work {
  readonly model: string;
  readonly backend: BackendOptions;
}

export async function serveAll(engine: Engine): Promise<{ texts: string[]; evaluation: Evaluation }> {
  const texts = Promise.all(
    Array.from({ length: 6 }, (_, seed) => engine.generateText(TEXTS[seed]!, { seed, temperature: 1, maxTokens: 80 })),
  );
  const evaluation = engine.perplexity(TEXTS.join(' '));
  return { texts: await texts, evaluation: await evaluation };
}
