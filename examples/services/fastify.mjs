// The same service with fastify, which brings limits, checks of requests and the order of closing.
//   node examples/services/fastify.mjs models/mine [port]
import { Readable } from 'node:stream';
import fastify from 'fastify';
import { createEngine, SweetspotError } from 'sweetspot';

const SECONDS = 60; // of a request, so that a client that does not read gives its place back
const GRACE = 10; // seconds for what still runs when the service is told to stop

const [model, port = '8080'] = process.argv.slice(2);
const engine = await createEngine({ model, sequences: 4, queue: 32 });
// Strict: what the schemas do not say is an error, and neither dropped nor converted.
const app = fastify({
  bodyLimit: 1 << 20,
  keepAliveTimeout: 5000,
  ajv: { customOptions: { coerceTypes: false, removeAdditional: false } },
});

const object = (required, properties) => ({ type: 'object', required, properties, additionalProperties: false });
const generateBody = object(['prompt'], {
  prompt: { type: 'string' },
  maxTokens: { type: 'integer', minimum: 0, maximum: 1000, default: 200 },
  temperature: { type: 'number', minimum: 0 },
  topK: { type: 'integer', minimum: 0 },
  topP: { type: 'number', exclusiveMinimum: 0, maximum: 1 },
  seed: { type: 'integer' },
  stop: { type: 'array', maxItems: 8, items: { type: 'string', minLength: 1 } },
});

/** Fires when the client has gone or the time is up. */
function signalOf(reply) {
  const gone = new AbortController();
  reply.raw.on('close', () => gone.abort());
  return AbortSignal.any([gone.signal, AbortSignal.timeout(1000 * SECONDS)]);
}

app.get('/health', async () => ({ status: 'ok', ...engine.info }));

app.post('/generate', { schema: { body: generateBody } }, async (request, reply) => {
  const { prompt, ...options } = request.body;
  const pieces = engine.generate(prompt, { ...options, signal: signalOf(reply) });
  // Errors come with the first piece, while the answer can still have a status of its own.
  const first = await pieces.next();
  reply.type('text/plain; charset=utf-8');
  return reply.send(Readable.from(first.done ? [] : joined(first.value, pieces)));
});

async function* joined(first, rest) {
  yield first;
  yield* rest;
}

app.post('/perplexity', { schema: { body: object(['text'], { text: { type: 'string' } }) } }, (request, reply) =>
  engine.perplexity(request.body.text, { signal: signalOf(reply) }),
);

const STATUSES = { SWEETSPOT_USAGE: 400, SWEETSPOT_INPUT: 400, SWEETSPOT_BUSY: 503, SWEETSPOT_CLOSED: 503 };

app.setErrorHandler((error, request, reply) => {
  const known = error instanceof SweetspotError ? STATUSES[error.code] : error.statusCode;
  const status = known ?? (error.name === 'TimeoutError' ? 504 : 500);
  // An answer that nobody waits for any more is no failure.
  if (status === 500 && !reply.raw.destroyed) console.error(request.url, error);
  if (status === 503) reply.header('retry-after', '1');
  const code = error.code ?? 'INTERNAL';
  return reply.code(status).send({ error: { code, message: status === 500 ? 'internal error' : error.message } });
});
app.setNotFoundHandler((_, reply) =>
  reply
    .code(404)
    .send({ error: { code: 'NOT_FOUND', message: 'there is GET /health, POST /generate, POST /perplexity' } }),
);

// Requests under way may end by themselves for a while; then the engine ends them.
app.addHook('preClose', async () => void setTimeout(() => engine.close(), 1000 * GRACE).unref());
app.addHook('onClose', () => engine.close());
for (const name of ['SIGINT', 'SIGTERM']) process.once(name, () => app.close());

await app.listen({ port: Number(port) });
console.log(`listening on port ${app.server.address().port}`);
