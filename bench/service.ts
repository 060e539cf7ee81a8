// What the library costs the service it lives in: a trivial route of a real server on loopback, alone, beside generation at
// full load and beside training in the same process, in turns; and the delay of the event loop meanwhile.
//   node dist/bench/service.js [--seconds 8] [--turns 3] [--json bench/results/service.json]
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { buildCorpus } from '../ts/index.js';
import type { Ask, Delay } from './service_child.js';
import { serviceTexts, writeServiceModel } from './service_model.js';

/** As much of autocannon as is used here; it brings no types. */
type Autocannon = (options: {
  readonly url: string;
  readonly method?: 'POST';
  readonly connections: number;
  readonly duration: number;
  readonly overallRate?: number;
}) => Promise<{
  readonly latency: { readonly p50: number; readonly p99: number; readonly max: number };
  readonly requests: { readonly total: number };
  readonly non2xx: number;
  readonly errors: number;
}>;
const autocannon = createRequire(import.meta.url)('autocannon') as Autocannon;

/** Served and trained; the other work of the machine decides how much it is. */
const MODEL = { width: 128, layers: 4, heads: 4, vocab: 4096, contextLength: 256 };
const TRAINED_TOKENS = 200_000;
/** Pings a second: enough to see the slow ones, far from what the server can do. */
const RATE = 200;

const SITUATIONS = ['alone', 'generating', 'training'] as const;
type Situation = (typeof SITUATIONS)[number];

interface Turn {
  readonly situation: Situation;
  /** Of /ping, ms. */
  readonly ping: { readonly p50: number; readonly p99: number; readonly max: number };
  /** Of the event loop, ms; the timer itself sleeps one. */
  readonly delay: Delay;
  readonly pings: number;
  /** Texts generated in the turn. */
  readonly generated: number;
}

const { values } = parseArgs({
  options: { seconds: { type: 'string' }, turns: { type: 'string' }, json: { type: 'string' } },
});
const [seconds, turns] = [Number(values.seconds ?? 8), Number(values.turns ?? 3)];
const folder = mkdtempSync(path.join(tmpdir(), 'sweetspot-service-'));

async function measure(): Promise<{ threads: number; isa: string; all: Turn[] }> {
  const text = path.join(folder, 'text.jsonl');
  writeFileSync(
    text,
    serviceTexts()
      .map((one) => `${JSON.stringify({ text: one })}\n`)
      .join(''),
  );
  await writeServiceModel(path.join(folder, 'model'), MODEL);
  await buildCorpus({ input: text, out: path.join(folder, 'corpus'), tokenizer: path.join(folder, 'model') });
  const file = fileURLToPath(new URL('./service_child.js', import.meta.url));
  const child = fork(file, [folder, String(TRAINED_TOKENS)]);
  const answer = async <T>() => (await once(child, 'message'))[0] as T;
  const ask = (what: Ask) => {
    const answered = answer<Delay & { runs: number }>();
    child.send(what);
    return answered;
  };
  try {
    const { port, threads, isa } = await answer<{ port: number; threads: number; isa: string }>();
    const url = `http://127.0.0.1:${port}`;
    await autocannon({ url: `${url}/ping`, connections: 4, duration: 2, overallRate: RATE });
    const all: Turn[] = [];
    for (let turn = 0; turn < turns; turn++) {
      for (const situation of SITUATIONS) {
        const load =
          situation === 'generating'
            ? autocannon({ url: `${url}/generate`, method: 'POST', connections: 16, duration: seconds + 1 })
            : undefined;
        if (situation === 'training') await ask('train');
        await sleep(500);
        await ask('reset');
        const ping = await autocannon({ url: `${url}/ping`, connections: 4, duration: seconds, overallRate: RATE });
        const { p50, p99, max } = await ask('delay');
        if (situation === 'training') await ask('stop');
        const generated = (await load)?.requests.total ?? 0;
        if (ping.errors + ping.non2xx > 0) throw new Error('/ping failed');
        const { latency } = ping;
        all.push({
          situation,
          ping: { p50: latency.p50, p99: latency.p99, max: latency.max },
          delay: { p50, p99, max },
          pings: ping.requests.total,
          generated,
        });
      }
    }
    return { threads, isa, all };
  } finally {
    child.disconnect();
    await once(child, 'exit');
  }
}

const median = (list: readonly number[]) => [...list].sort((a, b) => a - b)[Math.floor(list.length / 2)]!;

try {
  const { threads, isa, all } = await measure();
  const summary = SITUATIONS.map((situation) => {
    const own = all.filter((turn) => turn.situation === situation);
    const pick = (value: (turn: Turn) => number) => median(own.map(value));
    return {
      situation,
      pingP50: pick(({ ping }) => ping.p50),
      pingP99: pick(({ ping }) => ping.p99),
      pingMax: Math.max(...own.map(({ ping }) => ping.max)),
      delayP99: pick(({ delay }) => delay.p99),
      delayMax: Math.max(...own.map(({ delay }) => delay.max)),
      generated: own.reduce((sum, { generated }) => sum + generated, 0),
    };
  });
  console.log('situation    /ping p50    p99    max   event-loop delay p99    max   (ms)');
  for (const { situation, pingP50, pingP99, pingMax, delayP99, delayMax } of summary)
    console.log(
      `${situation.padEnd(14)}${pingP50.toFixed(1).padStart(8)}${pingP99.toFixed(1).padStart(7)}${pingMax.toFixed(1).padStart(7)}${delayP99.toFixed(1).padStart(23)}${delayMax.toFixed(1).padStart(7)}`,
    );
  if (values.json !== undefined)
    writeFileSync(
      values.json,
      `${JSON.stringify({ threads, isa, model: MODEL, seconds, rate: RATE, summary, turns: all }, null, 1)}\n`,
    );
} finally {
  rmSync(folder, { recursive: true, force: true });
}
