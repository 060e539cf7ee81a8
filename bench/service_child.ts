// The server of service.ts, a process of its own: GET /ping, POST /generate, and what a parent tells it over its channel:
// 'train' starts training (whole runs of pretrain(), one after the other, checkpoints included), 'stop' ends it, 'reset' and
// 'delay' measure the event loop.
import { createServer } from 'node:http';
import path from 'node:path';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { createEngine, openBackend, pretrain } from '../ts/index.js';

export type Ask = 'train' | 'stop' | 'reset' | 'delay';
export interface Delay {
  readonly p50: number;
  readonly p99: number;
  readonly max: number;
}

const [folder, tokens] = process.argv.slice(2);
const at = (name: string) => path.join(folder!, name);
const backend = openBackend();
const engine = await createEngine({ model: at('model'), backend, sequences: 4, queue: 64 });
const delay = monitorEventLoopDelay({ resolution: 1 });
delay.enable();
let training: { readonly stop: AbortController; readonly done: Promise<void> } | undefined;
let runs = 0;

async function train(signal: AbortSignal): Promise<void> {
  // On a backend of its own, as a service would do it: rows of the two do not wait for each other.
  await using own = openBackend();
  while (!signal.aborted) {
    const options = { method: 'slm', corpus: at('corpus'), out: at(`run${runs++}`), tokens: Number(tokens) } as const;
    await pretrain({ backend: own, ...options, signal }).catch((error) => {
      if (!signal.aborted) throw error;
    });
  }
}

const server = createServer(async (request, response) => {
  if (request.url === '/ping') return void response.end('pong');
  const gone = new AbortController();
  response.on('close', () => gone.abort());
  try {
    for await (const piece of engine.generate('The whale', { maxTokens: 100, temperature: 1, signal: gone.signal }))
      response.write(piece);
  } catch (error) {
    if (!response.headersSent) response.statusCode = 503;
    if (!gone.signal.aborted) console.error(error);
  }
  response.end();
});
server.listen(0, '127.0.0.1', () => {
  const { port } = server.address() as { port: number };
  const { threads, isa } = backend.capabilities;
  process.send!({ port, threads, isa });
});

process.on('message', async (ask: Ask) => {
  if (ask === 'train') {
    const stop = new AbortController();
    training = { stop, done: train(stop.signal) };
  }
  if (ask === 'stop') {
    training?.stop.abort();
    await training?.done;
    training = undefined;
  }
  if (ask === 'reset') delay.reset();
  const ms = (nanoseconds: number) => Math.round(nanoseconds / 1e4) / 100;
  process.send!({ p50: ms(delay.percentile(50)), p99: ms(delay.percentile(99)), max: ms(delay.max), runs });
});
process.on('disconnect', () => process.exit(0));
