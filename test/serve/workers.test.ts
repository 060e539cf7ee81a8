// Several worker threads at once, each with an engine of its own: the results of the main thread. And the short form of
// bench/rounds.ts: threads and processes that end in the middle of a step.
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import test from 'ava';
import { processRound, workerRound } from '../../bench/rounds.js';
import { createEngine } from '../../ts/index.js';
import { BACKENDS, modelFolder } from './support.js';
import { serveAll, type Work } from './work.js';

const WORKER = fileURLToPath(new URL('./worker.js', import.meta.url));

for (const name of BACKENDS) {
  test.serial(`${name}: worker threads give what the main thread gives, all at once`, async (t) => {
    const model = await modelFolder(t, { contextLength: 128 });
    const work: Work = { model, backend: { backend: name, threads: 2 } };
    await using engine = await createEngine({ model, backend: work.backend });
    const workers = Array.from({ length: 4 }, () => new Worker(WORKER, { workerData: work }));
    const results = workers.map(async (worker) => {
      const exit = once(worker, 'exit');
      const [message] = await once(worker, 'message');
      t.deepEqual(await exit, [0], 'an engine that is closed keeps no thread alive');
      return message;
    });
    const here = await serveAll(engine);
    for (const result of await Promise.all(results)) t.deepEqual(result, here);
  });

  test.serial(`${name}: threads and processes end in the middle of a step`, async (t) => {
    const model = await modelFolder(t);
    for (let i = 0; i < 12; i++) {
      const job = i % 2 === 0 ? 'training' : 'generation';
      await workerRound({ job, backend: name, model });
      if (i < 6) t.is(await processRound({ job, backend: name, model }, 10 + i), 10 + i);
    }
  });
}
