// First of all on a new GPU: what is most doubtful on real hardware, a line each: node dist/bench/gpu/suspects.js [--small].
// Each group of checks has a process of its own, all at the same time, so that a kernel that hangs or ruins its context stops
// nothing else. Where wgmma is wrong, all that was is tried again without it (SWEETSPOT_CUDA_WGMMA=0). Exits with 1 when anything
// is wrong. $OUT, when set, gets suspects.json, by which run.sh turns wgmma off for all that follows.
import { fork } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Case } from '../../test/conformance/case.js';
import { CASES } from '../../test/conformance/cases/index.js';
import { check, prepare } from '../../test/conformance/runner.js';
import type { OracleName } from '../../test/support/oracle/op.js';
import { openBackend } from '../../ts/backend/index.js';
import { Device, flags } from './device.js';
import { Products, type Verdict } from './suspect_products.js';

/** Milliseconds that a group may take: twice this and a little is the limit of the part in run.sh. */
const PATIENCE = flags.small ? 120_000 : 9_000;

interface Line {
  readonly name: string;
  readonly good: boolean;
  readonly text: string;
}
type Say = (name: string, good: boolean, text: string) => void;
type Shape = readonly [number, number, number];

/**
 * m n k. Tiles of 256 columns are chosen for large results alone; results whose rows are multiples of 16 bytes are stored by the
 * copy engine, others by threads; few tiles with a long k are cut along it.
 */
const SHAPES: Readonly<Record<string, readonly Shape[]>> = flags.small
  ? {
      'tiles of 256': [
        [133, 296, 72],
        [133, 299, 37],
      ],
      'tiles of 128': [
        [70, 72, 72],
        [69, 37, 39],
      ],
      'cut along k': [[70, 40, 600]],
    }
  : {
      'tiles of 256': [
        [2037, 2040, 520],
        [2037, 2043, 133],
      ],
      'tiles of 128': [
        [264, 136, 520],
        [333, 201, 391],
      ],
      'cut along k': [[200, 136, 2055]],
    };
const SIZES = flags.small ? [70, 0, 1, 45, 133] : [700, 0, 1, 457, 871];
const GROUPED = flags.small ? [72, 40] : [1032, 264];
const ODD = flags.small ? [37, 39] : [333, 139];

const worst = (verdicts: ReadonlyMap<string, Verdict>): { good: boolean; text: string } => {
  const texts = [...verdicts].map(([what, verdict]) =>
    'wrong' in verdict ? `${what} WRONG: ${verdict.wrong}` : `${what} ${verdict.error.toExponential(0)}`,
  );
  return { good: [...verdicts.values()].every((verdict) => 'error' in verdict), text: texts.join('; ') };
};

async function products(say: Say, list: (all: Products) => Iterable<[string, [string, () => Promise<Verdict>][]]>) {
  const device = new Device();
  for (const [name, checks] of list(new Products(device, 1 << 23))) {
    const verdicts = new Map<string, Verdict>();
    for (const [what, verdict] of checks) verdicts.set(what, await verdict());
    const { good, text } = worst(verdicts);
    say(name, good, text);
  }
  await device.backend.close();
}

/** Cases of the conformance suite, of other sizes than there. */
async function cases(say: Say, list: readonly [OracleName, Readonly<Record<string, number>>, (readonly string[])?][]) {
  const backend = openBackend({ backend: 'cuda' });
  for (const [op, dims, present = []] of list) {
    const like: Case = CASES[op].find((one: Case) => one.base === 0 && !one.name.includes('('))!;
    const length = Math.max(...Object.values(dims));
    const failure = await check(await prepare({ ...like, name: op, dims, present, length }), [backend]);
    const sizes = Object.entries(dims).map(([key, value]) => `${key} ${value}`);
    say(`${op} ${sizes.join(', ')}`, failure === undefined, failure ?? 'as float64 has it');
  }
  await backend.close();
}

const heads = (headDim: number) => ({
  batch: 1,
  time: flags.small ? 70 : 300,
  heads: 2,
  kvHeads: 2,
  headDim,
  precision: 1,
});
const bank = (groups: number) => ({ groups, slices: 16, size: 256 * (flags.small ? 3 : 37), dtype: 1 });

/** Those that begin with wgmma use it. */
const GROUPS: Readonly<Record<string, (say: Say) => Promise<void>>> = {
  'wgmma gemm': (say) =>
    products(say, function* (all) {
      for (const layout of ['NN', 'NT', 'TN', 'TT'])
        for (const [tiles, shapes] of Object.entries(SHAPES))
          yield [
            `${layout}, ${tiles}`,
            shapes.flatMap((shape) =>
              (['f32', 'bf16'] as const).map((output): [string, () => Promise<Verdict>] => [
                `${shape.join(' ')} ${output}`,
                () => all.gemm(layout, shape, output),
              ]),
            ),
          ];
    }),
  'wgmma groups': (say) =>
    products(say, function* (all) {
      for (const transB of [false, true])
        yield [
          `grouped_gemm N${transB ? 'T' : 'N'}`,
          [GROUPED, ODD].flatMap(([n, k]) =>
            (['f32', 'bf16'] as const).map((output): [string, () => Promise<Verdict>] => [
              `${n} ${k} ${output}`,
              () => all.grouped(SIZES, n!, k!, transB, output),
            ]),
          ),
        ];
      yield [
        'grouped_gemm_dw',
        [GROUPED, ODD].flatMap(([m, n]) =>
          (['f32', 'bf16'] as const).map((output): [string, () => Promise<Verdict>] => [
            `${m} ${n} ${output}`,
            () => all.groupedGradient(SIZES, m!, n!, output),
          ]),
        ),
      ];
    }),
  attention: (say) =>
    cases(say, [
      ['attention', heads(64)],
      ['attention', heads(128)],
      ['attention_backward', heads(64)],
      ['attention_backward', heads(128)],
    ]),
  bank: (say) =>
    cases(say, [
      ['bank_mix', bank(4), ['s']],
      ['bank_mix', bank(32), ['s']],
      ['bank_mix_backward', bank(4), ['ds']],
      ['bank_mix_backward', bank(32), ['ds']],
    ]),
  routes: (say) =>
    cases(say, [
      ['route_sort', { rows: flags.small ? 500 : 16384, k: 2, groups: 64 }],
      ['route_sort', { rows: 3000, k: 2, groups: 3000 }],
    ]),
};

/** A group in a process of its own. */
function follow(group: string, env: NodeJS.ProcessEnv, how: string): Promise<readonly Line[]> {
  return new Promise((resolve) => {
    const lines: Line[] = [];
    const add = (line: Line) => {
      lines.push(line);
      console.log(`${line.good ? 'good ' : 'WRONG'} ${line.name}: ${line.text}`);
    };
    const child = fork(fileURLToPath(import.meta.url), process.argv.slice(2), {
      env: { ...process.env, ...env, SUSPECTS: group },
    });
    let reason: string | undefined;
    const timer = setTimeout(() => {
      reason = `hangs: no end after ${PATIENCE / 1000} s and ${lines.length} lines`;
      child.kill('SIGKILL');
    }, PATIENCE);
    child.on('message', (message) => {
      const line = message as Line;
      add({ ...line, name: `${group}${how}, ${line.name}` });
    });
    child.on('exit', (code, signal) => {
      clearTimeout(timer);
      if (code !== 0)
        add({ name: `${group}${how}`, good: false, text: reason ?? `its process ended with ${code ?? signal}` });
      resolve(lines);
    });
  });
}

const mine = process.env['SUSPECTS'];
if (mine !== undefined) {
  const send = (line: Line) => new Promise<void>((resolve) => process.send!(line, () => resolve()));
  const sent: Promise<void>[] = [];
  try {
    await GROUPS[mine]!((name, good, text) => void sent.push(send({ name, good, text })));
    await Promise.all(sent);
    process.exit(0);
  } catch (error) {
    await Promise.all([...sent, send({ name: 'failed', good: false, text: (error as Error).message })]);
    // What follows in a context in ruins fails too.
    process.kill(process.pid, 'SIGKILL');
  }
} else {
  const all = async (groups: readonly string[], env: NodeJS.ProcessEnv, how: string) =>
    (await Promise.all(groups.map((group) => follow(group, env, how)))).flat();
  const lines = await all(Object.keys(GROUPS), {}, '');
  const wrong = [...new Set(lines.filter(({ good }) => !good).map(({ name }) => name.split(',')[0]!))];
  const doubtful = wrong.some((group) => group.startsWith('wgmma'));
  const off = process.env['SWEETSPOT_CUDA_WGMMA'] === '0';
  const again = off || !doubtful ? [] : await all(wrong, { SWEETSPOT_CUDA_WGMMA: '0' }, ' without wgmma');
  const verdict = off ? 'off' : doubtful ? 'wrong' : 'right';
  console.log(`wgmma is ${verdict}${again.some(({ good }) => !good) ? ', and something is without it' : ''}`);
  const out = process.env['OUT'];
  if (out !== undefined)
    writeFileSync(path.join(out, 'suspects.json'), JSON.stringify({ wgmma: verdict, lines: [...lines, ...again] }));
  process.exit(lines.every(({ good }) => good) ? 0 : 1);
}
