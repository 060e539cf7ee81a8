// A service around one model, with node:http alone.
//   node examples/services/http.mjs models/mine [port]
//   curl -N localhost:8080/generate -d '{"prompt": "The court", "maxTokens": 50}'
//   curl localhost:8080/perplexity -d '{"text": "The court is adjourned."}'
import { once } from 'node:events';
import { createServer } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { createEngine, SweetspotError } from 'sweetspot';

const MOST_BYTES = 1 << 20; // of a request
const MOST_TOKENS = 1000; // of an answer
const SECONDS = 60; // of a request, so that a client that does not read gives its place back
const GRACE = 10; // seconds for what still runs when the service is told to stop

const [model, port = '8080'] = process.argv.slice(2);
const engine = await createEngine({ model, sequences: 4, queue: 32 });

class HttpError extends Error {
  constructor(status, code, message) {
    super(message);
    Object.assign(this, { status, code });
  }
}

const routes = {
  'GET /health': async (_, response) => sendJson(response, 200, { status: 'ok', ...engine.info }),

  'POST /generate': async (request, response, signal) => {
    const { prompt, maxTokens = 200, ...options } = await readJson(request, signal);
    if (maxTokens > MOST_TOKENS) throw new HttpError(400, 'TOO_MANY_TOKENS', `maxTokens is at most ${MOST_TOKENS}`);
    const head = () => response.writeHead(200, { 'content-type': 'text/plain; charset=utf-8' });
    // The engine checks the rest. Errors before the first piece still have a status of their own.
    for await (const piece of engine.generate(prompt, { ...options, maxTokens, signal })) {
      if (!response.headersSent) head();
      if (!response.write(piece)) await once(response, 'drain', { signal });
    }
    if (!response.headersSent) head();
    response.end();
  },

  'POST /perplexity': async (request, response, signal) => {
    const { text } = await readJson(request, signal);
    sendJson(response, 200, await engine.perplexity(text, { signal }));
  },
};

const server = createServer(async (request, response) => {
  const gone = new AbortController();
  response.on('close', () => gone.abort());
  const signal = AbortSignal.any([gone.signal, AbortSignal.timeout(1000 * SECONDS)]);
  try {
    const route = routes[`${request.method} ${request.url}`];
    if (route === undefined)
      throw new HttpError(404, 'NOT_FOUND', 'there is GET /health, POST /generate, POST /perplexity');
    await route(request, response, signal);
  } catch (error) {
    sendError(response, error);
  }
});

async function readJson(request, signal) {
  const tooLarge = new HttpError(413, 'TOO_LARGE', `a request has at most ${MOST_BYTES} bytes`);
  if (Number(request.headers['content-length'] ?? 0) > MOST_BYTES) throw tooLarge;
  const chunks = [];
  let bytes = 0;
  for await (const chunk of request) {
    signal.throwIfAborted();
    bytes += chunk.length;
    if (bytes > MOST_BYTES) throw tooLarge;
    chunks.push(chunk);
  }
  try {
    return Object(JSON.parse(Buffer.concat(chunks).toString()));
  } catch {
    throw new HttpError(400, 'BAD_JSON', 'the body is not JSON');
  }
}

function sendError(response, error) {
  // The head is out, or nobody listens: a cut connection tells the client that the answer is not whole.
  if (response.headersSent || response.destroyed) return void response.destroy();
  const { status, code } = described(error);
  if (status === 500) console.error(error);
  if (status === 503) response.setHeader('retry-after', '1');
  response.setHeader('connection', 'close'); // part of the body may be unread
  sendJson(response, status, { error: { code, message: status === 500 ? 'internal error' : error.message } });
}

function described(error) {
  if (error instanceof HttpError) return error;
  if (error?.name === 'TimeoutError') return { status: 504, code: 'TIMEOUT' };
  if (!(error instanceof SweetspotError)) return { status: 500, code: 'INTERNAL' };
  const statuses = { SWEETSPOT_USAGE: 400, SWEETSPOT_INPUT: 400, SWEETSPOT_BUSY: 503, SWEETSPOT_CLOSED: 503 };
  return { status: statuses[error.code] ?? 500, code: error.code };
}

function sendJson(response, status, value) {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(value));
}

async function stop() {
  server.close(); // no new connections
  await Promise.race([once(server, 'close'), sleep(1000 * GRACE, undefined, { ref: false })]);
  await engine.close(); // ends what still runs
  server.closeAllConnections();
}
for (const name of ['SIGINT', 'SIGTERM']) process.once(name, stop);

server.listen(Number(port), () => console.log(`listening on port ${server.address().port}`));
