// The page in a real browser: a bank and a dense model are opened, a pasted text makes a specialist, it is fine-tuned and writes;
// the figures are those of Node; nothing is asked of any network; wrong folders and short texts are told.
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import test from 'ava';
import { type Browser, chromium, type Page } from 'playwright-core';
import { openBackend } from '../../ts/backend/index.js';
import { clusterCorpus } from '../../ts/data/clusters.js';
import { buildCorpus } from '../../ts/data/corpus.js';
import { pretrain } from '../../ts/methods/pretrain.js';
import { specialize } from '../../ts/methods/specialize.js';
import { projectRoot } from '../conformance/coverage.js';
import { documents } from '../support/topics.js';

const CHROMIUM = process.env['CHROMIUM'] ?? '/usr/bin/chromium';
const FLAGS = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];
const PAGE = path.join(projectRoot(), 'dist/page/index.html');
const browserTest = existsSync(CHROMIUM) ? test.serial : test.serial.skip;
if (!existsSync(CHROMIUM))
  console.log(`skipped: the page, since there is no browser at ${CHROMIUM} (CHROMIUM says where)`);

const root = mkdtempSync(path.join(tmpdir(), 'sweetspot-page-'));
const at = (name: string) => path.join(root, name);
let browser: Browser;
let server: Server;

test.before(async () => {
  if (!existsSync(CHROMIUM)) return;
  const topics = ['kitchen', 'sea', 'law'];
  writeFileSync(at('generic.jsonl'), topics.map((topic) => documents(topic, 40, 1)).join(''));
  writeFileSync(at('law.txt'), lawText());
  const backend = openBackend();
  await buildCorpus({ input: at('generic.jsonl'), out: at('corpus'), vocabSize: 300 });
  await clusterCorpus(backend, at('corpus'), { clusters: 3, contextLength: 32 });
  const model = { hiddenSize: 32, layers: 1, heads: 2, intermediateSize: 64, contextLength: 32 };
  const shape = { model, batchTokens: 1024, tokens: 16384 };
  await pretrain({
    backend,
    method: 'projected',
    corpus: at('corpus'),
    out: at('bank'),
    clusters: 3,
    bank: { slices: 3 },
    ...shape,
  });
  await specialize({ backend, run: at('bank'), domain: at('law.txt'), out: at('dense'), steps: 0 });
  await backend.close();
  // With the headers that let a page share memory between threads.
  server = createServer((_, response) => {
    response.writeHead(200, {
      'content-type': 'text/html',
      'cross-origin-opener-policy': 'same-origin',
      'cross-origin-embedder-policy': 'require-corp',
    });
    response.end(readFileSync(PAGE));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  browser = await chromium.launch({ executablePath: CHROMIUM, args: FLAGS });
});

test.after.always(async () => {
  await browser?.close();
  server?.close();
  rmSync(root, { recursive: true, force: true });
});

const lawText = () =>
  documents('law', 20, 2)
    .trim()
    .split('\n')
    .map((line) => (JSON.parse(line) as { text: string }).text)
    .join('\n');

async function opened(url: string): Promise<{ page: Page; requests: string[] }> {
  const page = await browser.newPage();
  const requests: string[] = [];
  page.on('request', (request) => requests.push(request.url()));
  page.on('pageerror', (error) => requests.push(`error ${error.message}`));
  await page.goto(url);
  await page.waitForFunction(() => document.querySelector('#backend')!.textContent !== 'starting');
  return { page, requests };
}

const isolated = () => `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
const textOf = async (page: Page, id: string) => (await page.textContent(`#${id}`))!;

async function openFolder(page: Page, folder: string): Promise<string> {
  await page.setInputFiles('#folder', folder);
  await page.waitForFunction(() => document.querySelector('#source')!.textContent !== 'reading');
  return await textOf(page, 'source');
}

/** Presses a button and waits until it can be pressed again. */
async function press(page: Page, id: string): Promise<void> {
  await page.click(`#${id}`);
  await page.waitForFunction((id) => !document.querySelector<HTMLButtonElement>(`#${id}`)!.disabled, id);
}

browserTest('a bank: a specialist from pasted text, with the figures of Node, and no connection', async (t) => {
  const { page, requests } = await opened(isolated());
  t.regex(await textOf(page, 'backend'), /WebAssembly, \w+, \d+ threads?/);
  t.regex(await openFolder(page, at('bank')), /projected run: .* 3 clusters/);
  await page.fill('#text', lawText());
  t.regex(await textOf(page, 'count'), /tokens/);
  await page.fill('#steps', '12');
  await press(page, 'specialize');
  const [, before, after] = /perplexity .* ([\d.]+) before, ([\d.]+) after/.exec(await textOf(page, 'status'))!;

  const backend = openBackend();
  const same = await specialize({
    backend,
    run: at('bank'),
    domain: at('law.txt'),
    out: at('same'),
    steps: 12,
    precision: 'fp32',
  });
  await backend.close();
  t.is(before, same.before.perplexity.toFixed(1));
  t.is(after, same.after.perplexity.toFixed(1));
  t.true(Number(after) < Number(before));

  t.is(await page.locator('figure').count(), 2);
  await page.fill('#prompt', 'The court');
  await press(page, 'generate');
  const written = await textOf(page, 'output');
  t.true(written.startsWith('The court') && written.length > 40, written);
  t.deepEqual(
    requests.filter((url) => !/^(http:\/\/127\.0\.0\.1:\d+\/|blob:)/.test(url)),
    [],
  );
  const refused = await page.evaluate(() =>
    fetch('/').then(
      () => 'went through',
      () => 'refused',
    ),
  );
  t.is(refused, 'refused');
  await page.close();
});

browserTest('from a disk, with one thread: a dense model; work can be stopped', async (t) => {
  const { page } = await opened(pathToFileURL(PAGE).href);
  t.regex(await textOf(page, 'backend'), /1 thread$/);
  t.regex(await openFolder(page, at('dense')), /dense model/);
  await page.fill('#text', lawText());
  await page.fill('#steps', '2000');
  await page.click('#specialize');
  await page.waitForFunction(() => /step \d+/.test(document.querySelector('#status')!.textContent!));
  await page.click('#stop');
  await page.waitForFunction(() => document.querySelector('#status')!.textContent === 'stopped');
  await page.fill('#steps', '0');
  await press(page, 'specialize');
  t.regex(await textOf(page, 'status'), /0 steps/);
  await press(page, 'generate');
  t.true((await textOf(page, 'output')).length > 3);
  await page.close();
});

browserTest('a folder that is no model, and a text too short, are told', async (t) => {
  const { page } = await opened(isolated());
  t.regex(await openFolder(page, at('corpus')), /not a run folder/);
  await openFolder(page, at('bank'));
  await page.fill('#text', 'The court.');
  await press(page, 'specialize');
  t.regex(await textOf(page, 'status'), /text/);
  await page.close();
});
