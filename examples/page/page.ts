// The page: three steps (model, text, writing) over specialist.ts. Nothing is computed on this thread.
import { SweetspotError } from '../../ts/backend/errors.js';
import type { Placement } from '../../ts/methods/choose.js';
import { generate } from '../../ts/serve/generate.js';
import type { Progress } from '../../ts/train/progress.js';
import { openPageBackend, type Parts } from './backend.js';
import { type ChosenFile, openSource, type Source, type Specialist, specialize } from './specialist.js';

/** Put in by the build. */
declare const PARTS: Parts;

const element = <T extends HTMLElement = HTMLElement>(id: string): T => document.getElementById(id) as T;
const input = (id: string) => element<HTMLInputElement>(id);
const button = (id: string) => element<HTMLButtonElement>(id);
const opened = openPageBackend(PARTS);

let source: Source | undefined;
let specialist: Specialist | undefined;
/** Stops what runs now. */
let running: AbortController | undefined;

function say(id: string, text: string, wrong = false): void {
  element(id).textContent = text;
  element(id).classList.toggle('error', wrong);
}

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

/** Runs one piece of work at a time; errors go to `place`. */
async function busy(place: string, work: (signal: AbortSignal) => Promise<void>): Promise<void> {
  running = new AbortController();
  refresh();
  try {
    await work(running.signal);
  } catch (error) {
    if (error instanceof SweetspotError && error.code === 'SWEETSPOT_ABORTED') say(place, 'stopped');
    else say(place, messageOf(error), true);
  } finally {
    running = undefined;
    refresh();
  }
}

function refresh(): void {
  const text = element<HTMLTextAreaElement>('text').value;
  button('specialize').disabled = running !== undefined || source === undefined || text.trim() === '';
  button('stop').disabled = running === undefined;
  button('generate').disabled = running !== undefined || specialist === undefined;
  const tokens = source?.tokenizer.encode(text).length;
  say(
    'count',
    tokens === undefined ? '' : `${text.length.toLocaleString()} characters, ${tokens.toLocaleString()} tokens`,
  );
}

async function chooseFolder(files: FileList): Promise<void> {
  await busy('source', async () => {
    say('source', 'reading');
    // "folder/weights/main.safetensors" without the folder.
    const chosen: ChosenFile[] = Array.from(files, (file) => ({
      path: file.webkitRelativePath.slice(file.webkitRelativePath.indexOf('/') + 1),
      bytes: async () => new Uint8Array(await file.arrayBuffer()),
    }));
    source = undefined;
    source = await openSource(chosen);
    const { kind, parameters, clusters, model } = source;
    const experts = clusters === 0 ? '' : `, ${clusters} clusters`;
    say(
      'source',
      `${kind}: a specialist of ${(parameters / 1e6).toFixed(2)} M parameters, ${model.layers} layers, context ${model.contextLength}${experts}`,
    );
  });
}

async function train(): Promise<void> {
  await busy('status', async (signal) => {
    const backend = await opened;
    const losses: number[] = [];
    specialist?.model.dispose();
    specialist = undefined;
    element('figures').replaceChildren();
    say('status', 'placing the text among the clusters');
    specialist = await specialize(backend, source!, element<HTMLTextAreaElement>('text').value, {
      steps: Number(input('steps').value),
      signal,
      onStart: (placement) => drawPlacement(placement),
      onProgress: (progress) => {
        element<HTMLProgressElement>('progress').value = progress.done / progress.total;
        say('status', describe(progress));
        if (progress.loss !== undefined) losses.push(progress.loss);
      },
    });
    element<HTMLProgressElement>('progress').value = 1;
    const { before, after, steps } = specialist;
    const early = steps < Number(input('steps').value) ? ' (stopped: the held-out part got no better)' : '';
    drawLosses(losses);
    say(
      'status',
      `${steps} steps${early}: perplexity on the held-out tenth of the text ${before.toFixed(1)} before, ${after.toFixed(1)} after`,
    );
  });
}

function describe({ done, total, loss, rate, secondsLeft }: Progress): string {
  const parts = [`step ${done} of ${total}`];
  if (loss !== undefined) parts.push(`loss ${loss.toFixed(2)}`);
  if (rate !== undefined && rate > 0) parts.push(`${rate.toFixed(1)} steps/s`);
  if (secondsLeft !== undefined && Number.isFinite(secondsLeft)) parts.push(`${Math.ceil(secondsLeft)} s left`);
  return parts.join(', ');
}

async function write(): Promise<void> {
  await busy('output', async (signal) => {
    const prompt = input('prompt').value;
    say('output', prompt);
    const options = { temperature: Number(input('temperature').value), maxTokens: 150, signal };
    for await (const piece of generate(specialist!.model, prompt, options)) element('output').append(piece);
  });
}

/** A figure of a row of marks in a box of 100 by 40. */
function figure(caption: string, marks: string): void {
  const box = document.createElement('figure');
  const ground = '<line class="ground" x1="0" y1="40" x2="100" y2="40"/>';
  box.innerHTML = `<svg viewBox="0 0 100 40" preserveAspectRatio="none" role="img">${ground}${marks}</svg><figcaption></figcaption>`;
  box.querySelector('figcaption')!.textContent = caption;
  element('figures').append(box);
}

function drawPlacement(placement: Placement | undefined): void {
  if (placement === undefined || placement.histogram.length === 0) return;
  const { histogram, entropy, coverage } = placement;
  const most = Math.max(...histogram);
  const width = 100 / histogram.length;
  const bars = histogram.map((share, i) => {
    const height = (38 * share) / most;
    return `<rect class="bar" x="${i * width}" y="${40 - height}" width="${width * 0.8}" height="${height}"/>`;
  });
  const covered = coverage === null ? '' : `, coverage ${coverage.toFixed(2)}`;
  figure(
    `Where the text lies among ${histogram.length} clusters: entropy ${entropy.toFixed(2)} nats${covered}`,
    bars.join(''),
  );
}

function drawLosses(losses: readonly number[]): void {
  if (losses.length < 2) return;
  const [low, high] = [Math.min(...losses), Math.max(...losses)];
  const points = losses.map((loss, i) => {
    const y = high === low ? 20 : 39 - (38 * (loss - low)) / (high - low);
    return `${(100 * i) / (losses.length - 1)},${y}`;
  });
  figure(
    `Training loss, ${losses[0]!.toFixed(2)} to ${losses.at(-1)!.toFixed(2)} nats a token`,
    `<polyline class="curve" points="${points.join(' ')}"/>`,
  );
}

opened.then(
  ({ capabilities: { isa, threads } }) =>
    say('backend', `WebAssembly, ${isa}, ${threads} ${threads === 1 ? 'thread' : 'threads'}`),
  (error: unknown) => say('backend', messageOf(error), true),
);
input('folder').addEventListener('change', () => chooseFolder(input('folder').files!));
element('text').addEventListener('input', refresh);
button('specialize').addEventListener('click', train);
button('generate').addEventListener('click', write);
button('stop').addEventListener('click', () => running?.abort());
refresh();
