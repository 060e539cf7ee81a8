#!/usr/bin/env node
// The command line. It parses, calls the library and prints; whatever it can do, a program can do through ts/index.ts.
// To add a verb: a file in commands/ that adds a command to the program, and its call below.
import { createRequire } from 'node:module';
import { Command, Option } from 'commander';
import { build } from './commands/build.js';
import { corpusBuild } from './commands/corpus_build.js';
import { corpusCluster } from './commands/corpus_cluster.js';
import { demo } from './commands/demo.js';
import { doctor } from './commands/doctor.js';
import { evaluate } from './commands/evaluate.js';
import { experiment } from './commands/experiment.js';
import { generate } from './commands/generate.js';
import { pretrain } from './commands/pretrain.js';
import { report as reportVerb } from './commands/report.js';
import { specialize } from './commands/specialize.js';
import { report } from './errors.js';
import { count } from './numbers.js';
import { typed } from './session.js';

// A reader that has seen enough (`| head`) is no failure.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') throw error;
  process.exit(process.exitCode ?? 0);
});
process.stderr.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') throw error;
});

const words = process.argv.slice(2);
const json = words.includes('--json');
const { version } = createRequire(import.meta.url)('sweetspot/package.json') as { version: string };

const program = new Command('sweetspot')
  .description('Train small language models that each know one domain.')
  .version(version)
  .addOption(
    new Option('--backend <name>', 'where to compute (default: auto)').choices(['auto', 'cpu', 'cuda', 'wasm']),
  )
  .option('--isa <name>', 'instruction set of the CPU kernels (default: the best of this machine; see doctor)')
  .option('--threads <n>', 'compute threads; results do not depend on it (default: one a core)', count('--threads'))
  .option('--json', 'print one JSON object on stdout, and errors as JSON on stderr')
  .configureHelp({ showGlobalOptions: true })
  // Errors are printed by `report`; the rest of what commander writes to stderr is help.
  .configureOutput({ outputError: () => {}, ...(json ? { writeErr: () => {} } : {}) })
  .exitOverride()
  .addHelpText(
    'after',
    `
The whole way, from text to a model of your own:
  ${typed('corpus', 'build', '--input', 'generic.jsonl.gz', '--out', 'corpus/')}
  ${typed('corpus', 'cluster', 'corpus/', '--clusters', '16')}
  ${typed('pretrain', '--method', 'projected', '--corpus', 'corpus/', '--tokens', '10M', '--out', 'runs/pn')}
  ${typed('specialize', 'runs/pn', '--domain', 'my-docs/', '--out', 'models/mine')}
  ${typed('evaluate', 'models/mine', '--text', 'heldout.jsonl')}
  ${typed('generate', 'models/mine', '--prompt', 'The court')}
Every method beside the others, with costs and figures:
  ${typed('experiment', 'examples/small.yaml', '--out', 'runs/small')}
  ${typed('report', 'runs/small')}
Exit codes: 0 done, 1 failed, 2 wrong command line, 130 interrupted.`,
  );

const corpus = program.command('corpus').description('make and cluster the generic corpus');
corpusBuild(corpus);
corpusCluster(corpus);
pretrain(program);
specialize(program);
evaluate(program);
generate(program);
experiment(program);
reportVerb(program);
demo(program);
doctor(program);
build(program);

/** Verbs that go on where they were interrupted when the same is typed again. */
const RESUMED = ['pretrain', 'specialize', 'cluster', 'experiment'];

try {
  await program.parseAsync(words, { from: 'user' });
} catch (error) {
  const resume = RESUMED.some((name) => words.includes(name)) ? typed(...words) : undefined;
  process.exitCode = report(error, json, resume);
}
