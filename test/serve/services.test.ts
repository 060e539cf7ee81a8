// The example services as a user starts them: processes of their own, real requests on loopback.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { connect } from 'node:net';
import path from 'node:path';
import { createInterface } from 'node:readline';
import test from 'ava';
import { packageRoot } from '../../bindings/load.js';
import { createEngine, type Evaluation } from '../../ts/index.js';
import { TEXTS } from '../support/models.js';
import { eventually, failure, modelFolder } from './support.js';

interface Service {
  readonly child: ChildProcess;
  readonly port: number;
  readonly model: string;
  readonly log: string[];
  get(route: string): Promise<Response>;
  post(route: string, body: unknown, init?: RequestInit): Promise<Response>;
}

async function start(t: Parameters<typeof modelFolder>[0], name: string): Promise<Service> {
  const model = await modelFolder(t);
  const file = path.join(packageRoot(), 'examples', 'services', `${name}.mjs`);
  const child = spawn(process.execPath, [file, model, '0'], { stdio: ['ignore', 'pipe', 'pipe'] });
  t.teardown(() => void child.kill('SIGKILL'));
  const log: string[] = [];
  child.stderr.setEncoding('utf8').on('data', (text: string) => log.push(text));
  const [line] = (await Promise.race([
    once(createInterface(child.stdout), 'line'),
    once(child, 'exit').then(() => Promise.reject(new Error(log.join('')))),
  ])) as [string];
  const port = Number(line.split(' ').at(-1));
  const url = (route: string) => `http://127.0.0.1:${port}${route}`;
  return {
    child,
    port,
    model,
    log,
    get: (route) => fetch(url(route)),
    post: (route, body, init) =>
      fetch(url(route), {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: typeof body === 'string' ? body : JSON.stringify(body),
        ...init,
      }),
  };
}

const ended = async ({ child }: Service) =>
  child.exitCode ?? child.signalCode ?? ((await once(child, 'exit')) as [number | null])[0];

for (const name of ['http', 'fastify']) {
  test.serial(`${name}: answers are those of the engine`, async (t) => {
    const service = await start(t, name);
    await using engine = await createEngine({ model: service.model });
    const options = { maxTokens: 60, seed: 4, temperature: 1 };
    const expected = await engine.generateText('The fox', options);
    const bodies = await Promise.all(
      Array.from({ length: 8 }, async () => {
        const response = await service.post('/generate', { prompt: 'The fox', ...options });
        t.is(response.status, 200);
        t.true(response.headers.get('content-type')!.startsWith('text/plain'));
        return response.text();
      }),
    );
    for (const body of bodies) t.is(body, expected);
    t.is(await (await service.post('/generate', { prompt: 'The', maxTokens: 0 })).text(), '');
    const measured = await service.post('/perplexity', { text: TEXTS[6] });
    t.deepEqual((await measured.json()) as Evaluation, await engine.perplexity(TEXTS[6]!));
    const health = (await (await service.get('/health')).json()) as Record<string, unknown>;
    t.like(health, { status: 'ok', requests: 0, sequences: 4 });
    service.child.kill('SIGTERM');
    t.is(await ended(service), 0);
    t.deepEqual(service.log, []);
  });

  test.serial(
    `${name}: text is streamed; a client that goes away, or does not read, does not stay in the engine`,
    async (t) => {
      const service = await start(t, name);
      const requests = async () => ((await (await service.get('/health')).json()) as { requests: number }).requests;
      const gone = new AbortController();
      const body = { prompt: 'The', maxTokens: 1000, temperature: 1 };
      const response = await service.post('/generate', body, { signal: gone.signal });
      const reader = response.body!.getReader();
      t.true((await reader.read()).value!.length > 0);
      gone.abort();
      await failure(reader.read());
      await eventually(async () => (await requests()) === 0);
      // More than are decoded at once: some of these go away while they wait.
      const many = Array.from({ length: 12 }, () => {
        const socket = connect(service.port, '127.0.0.1').on('error', () => {});
        const text = JSON.stringify(body);
        socket.write(
          `POST /generate HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: ${text.length}\r\n\r\n${text}`,
        );
        return socket;
      });
      await eventually(async () => (await requests()) > 4);
      for (const socket of many) socket.destroy();
      await eventually(async () => (await requests()) === 0);
      t.deepEqual(service.log, []);
    },
  );

  test.serial(`${name}: what is wrong is refused as JSON with a code`, async (t) => {
    const service = await start(t, name);
    const refused = async (response: Response, status: number) => {
      const { error } = (await response.json()) as { error: { code: string; message: string } };
      t.is(response.status, status, error.message);
      t.regex(error.code, /^[A-Z_]+$/);
      t.true(error.message.length > 0);
      return error.code;
    };
    for (const body of [
      '{',
      '',
      'null',
      '[]',
      {},
      { prompt: 3 },
      { prompt: 'x', maxTokens: 1e6 },
      { prompt: 'x', maxTokens: -1 },
      { prompt: 'x', maxTokens: '5' },
      { prompt: 'x', temperature: -1 },
      { prompt: 'x', stop: [''] },
      { prompt: 'x', signal: {}, max: 3 },
    ])
      await refused(await service.post('/generate', body), 400);
    for (const body of [{}, { text: 5 }]) await refused(await service.post('/perplexity', body), 400);
    t.is(await refused(await service.post('/perplexity', { text: '' }), 400), 'SWEETSPOT_INPUT');
    await refused(await service.post('/generate', { prompt: 'x'.repeat(2 << 20) }), 413);
    await refused(await service.get('/generate'), 404);
    await refused(await service.get('/nothing'), 404);
    t.is((await service.get('/health')).status, 200);
    t.deepEqual(service.log, []);
  });

  test.serial(`${name}: too many requests get 503 and when to come again; stopping lets requests end`, async (t) => {
    const service = await start(t, name);
    const body = { prompt: 'The', maxTokens: 1000, temperature: 1 };
    const answers = await Promise.all(Array.from({ length: 60 }, () => service.post('/generate', body)));
    const busy = answers.filter(({ status }) => status === 503);
    t.true(busy.length >= 60 - 36 && busy.length < 60, `${busy.length} of 60`);
    for (const response of busy) {
      t.is(response.headers.get('retry-after'), '1');
      t.is(((await response.json()) as { error: { code: string } }).error.code, 'SWEETSPOT_BUSY');
    }
    service.child.kill('SIGTERM');
    const texts = await Promise.all(answers.filter(({ status }) => status === 200).map((response) => response.text()));
    t.true(texts.every((text) => text.length > 0));
    t.is(await ended(service), 0);
    t.deepEqual(service.log, []);
  });
}
