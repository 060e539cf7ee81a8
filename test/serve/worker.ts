// A worker thread of workers.test.ts: an engine of its own.
import { parentPort, workerData } from 'node:worker_threads';
import { createEngine } from '../../ts/index.js';
import { serveAll, type Work } from './work.js';

const { model, backend } = workerData as Work;
await using engine = await createEngine({ model, backend, sequences: 2 });
parentPort!.postMessage(await serveAll(engine));
