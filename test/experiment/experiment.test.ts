// Whole experiments on a small generated corpus: every method; killed and started again; two processes; two callers.
import { type ChildProcess, spawn } from 'node:child_process';
import { cpSync, existsSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { setTimeout } from 'node:timers/promises';
import test from 'ava';
import { CellStore } from '../../ts/experiment/cells.js';
import { checkedExperiment } from '../../ts/experiment/read.js';
import { readResults } from '../../ts/experiment/results.js';
import { resultsSchema } from '../../ts/experiment/results_schema.js';
import { describeExperiment, runExperiment } from '../../ts/experiment/run.js';
import { groupRows } from '../../ts/experiment/summary.js';
import { openRun } from '../../ts/methods/run.js';
import { cli, json, MAIN, start } from '../cli/support.js';
import { tiny, workplace } from './support.js';

const root = workplace();
const at = (...names: string[]) => path.join(root, ...names);
const text = (...names: string[]) => readFileSync(at(...names), 'utf8');
const GRID = tiny({
  models: { small: { hiddenSize: 32, layers: 1, heads: 2, intermediateSize: 64, logitCap: 30 } },
  sizes: [2000, { tokens: 3000, finetune: { steps: 25 } }],
  systems: [
    { name: 'slm', method: 'slm' },
    {
      name: 'projected',
      method: 'projected',
      clusters: 3,
      slices: 2,
      bankScale: 0.2,
      expert: ['histogram', 'ensemble', 'all'],
    },
    { name: 'mixture', method: 'mixture', clusters: 3, expert: 'lowest-loss', finetune: false },
    { name: 'importance', method: 'importance', clusters: [2, 3], packing: 'best-fit' },
    { name: 'domain-only', method: 'domain-only' },
  ],
});

test.serial('every method, from a value in a program', async (t) => {
  const experiment = await checkedExperiment(GRID, { folder: root });
  const plan = describeExperiment(experiment, at('all'));
  t.deepEqual(
    Object.values(plan.kinds).map(({ all }) => all),
    [
      // slm, projected, mixture; importance twice a domain.
      3 + 2 * 2,
      3,
      // slm, domain-only: one a domain. mixture: a size and domain. importance: the same, twice. projected: also an expert.
      2 + 2 + 4 + 8 + 4 * (2 + 3),
      4 + 4 + 8 + 4 * (1 + 3),
    ],
  );
  t.is(plan.done, 0);
  t.false(existsSync(at('all')), 'a look at the plan makes nothing');

  const seen: number[] = [];
  const { results } = await runExperiment({
    experiment,
    out: at('all'),
    onProgress: ({ done, cells }) => {
      if (cells > 0) seen.push(done / cells);
    },
  });
  t.deepEqual(resultsSchema.parse(JSON.parse(text('all', 'results.json'))), results);
  t.is(results.done, results.cells);
  t.true(seen.every((share, i) => i === 0 || share >= seen[i - 1]!));

  const groups = groupRows(results);
  const group = (label: string, size = 3000) => groups.find((one) => one.label === label && one.size === size)!;
  for (const row of results.rows) {
    const { method, name } = results.systems[row.system]!;
    t.true(
      row.after === null || row.before === null || row.after.perplexity < row.before.perplexity,
      `${name} ${row.domain}`,
    );
    t.is(row.after === null, method === 'mixture' || row.choice === 'ensemble');
    t.is(row.before === null, method === 'domain-only');
    t.is(row.entropy !== null, ['importance', 'mixture', 'projected'].includes(method));
    t.is(row.steps === null || row.size !== 3000 || row.steps <= 25, true);
  }
  // Topics are clusters of their own here, so a domain falls into one, and knowing it beforehand pays.
  t.true(group('importance (clusters 3)').rows.every((row) => row.entropy! < 0.3 && row.coverage! > 0.9));
  t.true(group('importance (clusters 3)').before!.mean < group('slm').before!.mean);
  const [sea, law] = group('projected, histogram').rows;
  t.not(sea!.cluster, law!.cluster);
  // All experts tried: the best on held-out text, and the cost of three fine-tunings.
  for (const row of group('projected, all').rows) {
    const one = group('projected, histogram').rows.find(({ domain }) => domain === row.domain)!;
    t.is(row.cells.tunes.length, 3);
    t.true(row.specialization.tuning.flops > 2 * one.specialization.tuning.flops);
  }
  // An ensemble costs its members in every answer, and is not fine-tuned.
  for (const row of group('projected, ensemble').rows) {
    const one = group('projected, histogram').rows.find(({ domain }) => domain === row.domain)!;
    t.is(row.inference.flops, 3 * one.inference.flops);
    t.is(row.inference.parameters, 3 * one.inference.parameters);
    t.deepEqual(row.cells.tunes, []);
  }
  // Costs: importance sampling pays for pretraining once a domain, the others once.
  t.is(group('importance (clusters 3)').genericFlops, 0);
  t.true(group('importance (clusters 3)').domainFlops > group('slm').genericFlops);
  t.is(group('domain-only').genericFlops, 0);
  t.true(group('mixture').rows[0]!.specialization.choosing.flops > 0);
  t.deepEqual(
    new Set(results.generic.map(({ system }) => results.systems[system]!.name)),
    new Set(['slm', 'projected', 'mixture']),
  );
  t.true(results.rows.every((row) => row.facts['largestRepeat'] === undefined || row.facts['largestRepeat'] > 0));

  // What systems share is done once, and a run folder is like any other.
  t.is(readdirSync(at('all', 'runs')).length, 7);
  const configOf = (label: string) => openRun(at('all', 'runs', group(label).rows[0]!.cells.run!)).config;
  t.like(configOf('slm'), { method: 'slm', packing: 'stream', model: { logitCap: 30 } });
  t.is(configOf('importance (clusters 3)').packing, 'best-fit');
  t.is(configOf('projected, histogram').adamw.bankScale, 0.2);
  t.is(group('slm', 2000).rows[0]!.cells.starts[0], group('slm').rows[0]!.cells.starts[0]);
  t.deepEqual(readdirSync(at('all', 'work')), ['prepare']);
  const { machine } = readResults(at('all'));
  t.true(Object.values(machine!.measured).every(({ seconds }) => seconds > 0));

  // A second call repeats nothing: it believes what it finds.
  const store = new CellStore(at('all'));
  const [cell] = group('slm').rows[0]!.cells.tunes as [string];
  const file = at('all', 'cells', `${cell}.json`);
  writeFileSync(
    file,
    JSON.stringify({
      ...JSON.parse(readFileSync(file, 'utf8')),
      result: { ...(store.read(cell).result as object), bestStep: 12345 },
    }),
  );
  const again = await runExperiment({ experiment, out: at('all') });
  t.is(again.results.rows.find((row) => row.cells.tunes[0] === cell)!.bestStep, 12345);
});

writeFileSync(at('tiny.json'), JSON.stringify(tiny({ seeds: [1, 2] })));
const run = (out: string, ...more: string[]) => ['experiment', 'tiny.json', '--out', out, ...more];

test.serial('for people: a plan, then a table; quiet in a pipe', async (t) => {
  const dry = await cli(run('whole', '--dry-run'), root);
  t.regex(dry.stdout, /pretraining +4, of them 0 done\n/);
  t.false(existsSync(at('whole')));
  const { code, stdout, stderr } = await cli(run('whole'), root);
  t.is(code, 0);
  t.is(stderr, '');
  t.regex(stdout, /\nslm +\d+\.\d+ ± \d+\.\d+ /);
  t.regex(stdout, /next: npx sweetspot report whole\n/);
  const { figures } = await json<{ figures: string[] }>(['report', 'whole'], root);
  t.true(figures.includes('specialized') && figures.includes('map'));
  t.true(text('whole', 'report', 'report.html').includes('</html>'));
});

/** Waits for so many finished cells. */
async function cells(out: string, count: number, child: ChildProcess): Promise<void> {
  const done = () =>
    existsSync(at(out, 'cells')) ? readdirSync(at(out, 'cells')).filter((name) => name.endsWith('.json')).length : 0;
  while (done() < count) {
    if (child.exitCode !== null) throw new Error(`ended with ${child.exitCode}`);
    await setTimeout(5);
  }
}

const childrenOf = ({ pid }: ChildProcess): number[] =>
  readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ').map(Number);
/** Who the children of a process are is asked of Linux. */
const linux = process.platform === 'linux' ? test.serial : test.serial.skip;

test.serial('killed twice and interrupted once, it ends with the same bytes', async (t) => {
  for (const count of [1, 8]) {
    const { child, done } = start(run('killed'), root);
    await cells('killed', count, child);
    await setTimeout(20);
    child.kill('SIGKILL');
    await done;
    t.false(existsSync(at('killed', 'results.json')), 'results come at the end');
  }
  const { child, done } = start(run('killed'), root);
  await cells('killed', 12, child);
  child.kill('SIGINT');
  const { code, stderr } = await done;
  t.is(code, 130);
  t.true(stderr.includes(`to go on: npx sweetspot ${run('killed').join(' ')}\n`));
  t.true(readResults(at('killed')).results.done >= 12, 'an interrupt leaves what there is');
  await json(run('killed'), root);
  t.is(text('killed', 'results.json'), text('whole', 'results.json'));
});

linux('two processes, one of them killed, give the same bytes as one', async (t) => {
  const { child, done } = start(run('two', '--processes', '2', '--json'), root);
  await cells('two', 3, child);
  const children = childrenOf(child);
  t.is(children.length, 2);
  process.kill(children[0]!, 'SIGKILL');
  const { code, stdout } = await done;
  t.is(code, 0);
  t.deepEqual(JSON.parse(stdout).warnings, ['1 worker processes died; others did their work']);
  t.is(text('two', 'results.json'), text('whole', 'results.json'));
});

test.serial('the same command given twice at once splits the work', async (t) => {
  const both = [run('both'), run('both')].map((args) => start([...args, '--json'], root).done);
  for (const { code, stderr } of await Promise.all(both)) t.is(code, 0, stderr);
  t.is(text('both', 'results.json'), text('whole', 'results.json'));
});

test.serial('a cell that fails stops the experiment with its error, and leaves the others done', async (t) => {
  cpSync(at('whole'), at('damaged'), { recursive: true });
  for (const name of readdirSync(at('damaged', 'cells')))
    if (/^(start|tune)/.test(name)) rmSync(at('damaged', 'cells', name));
  for (const name of readdirSync(at('damaged', 'runs')))
    truncateSync(at('damaged', 'runs', name, 'weights', 'main.safetensors'), 500);
  for (const processes of ['1', '2']) {
    const { code, stderr } = await cli(run('damaged', '--processes', processes, '--json'), root);
    t.is(code, 1);
    const { error } = JSON.parse(stderr);
    t.is(error.code, 'SWEETSPOT_CORRUPT');
    t.regex(error.message, /main\.safetensors/);
  }
  t.is(readResults(at('damaged')).results.done, 8);
});

linux('a parent that dies takes its workers with it', async (t) => {
  const child = spawn(process.execPath, [MAIN, ...run('orphans', '--processes', '2')], { cwd: root, stdio: 'ignore' });
  await cells('orphans', 1, child);
  const children = childrenOf(child);
  child.kill('SIGKILL');
  const alive = (pid: number) =>
    existsSync(`/proc/${pid}`) && !/\nState:\tZ/.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  for (let i = 0; i < 200 && children.some(alive); i++) await setTimeout(50);
  t.deepEqual(children.filter(alive), []);
});
