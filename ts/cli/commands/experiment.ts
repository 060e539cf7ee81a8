// sweetspot experiment: a file that names a grid to a folder of results, and a table.
import type { Command } from 'commander';
import { readExperiment } from '../../experiment/read.js';
import { describeExperiment, runExperiment } from '../../experiment/run.js';
import { toText } from '../../report/table.js';
import { macroTable } from '../../report/tables.js';
import { experimentLine } from '../experiment_line.js';
import { fields, short } from '../format.js';
import { count } from '../numbers.js';
import { typed, verb } from '../session.js';

interface Flags {
  readonly out: string;
  readonly processes?: number;
  readonly dryRun?: boolean;
}

/** Cells that a dry run names. */
const SHOWN = 12;

export function experiment(program: Command): void {
  const command = program
    .command('experiment')
    .description('run every system of a file on every domain; the same command again goes on where it stopped')
    .argument('<file>', 'what to compare: JSON or YAML, see docs/experiments.md')
    .requiredOption('--out <folder>', 'folder of the results, to make or to go on with')
    .option('--processes <n>', 'worker processes, between which threads are divided (default: 1)', count('--processes'))
    .option('--dry-run', 'check everything and say what would be done');
  verb<Flags>(command, async (session, flags, file) => {
    const experiment = await readExperiment(file!);
    if (flags.dryRun === true) {
      const plan = describeExperiment(experiment, flags.out);
      const { run, generic, start, tune } = plan.kinds;
      const part = ({ all, done }: { all: number; done: number }) => `${all}, of them ${done} done`;
      session.print({ out: flags.out, ...plan }, [
        ...fields([
          ['experiment', experiment.name],
          ['pretraining', part(run)],
          ['generic', part(generic)],
          ['starts', part(start)],
          ['fine-tuning', part(tune)],
          ['rows', String(plan.rows)],
          ['left to do', `${short(plan.flopsLeft)} FLOPs`],
        ]),
        ...plan.next.slice(0, SHOWN).map((title) => `  ${title}`),
        ...(plan.next.length > SHOWN ? [`  and ${plan.next.length - SHOWN} more`] : []),
      ]);
      return;
    }
    const { backend, isa, threads } = session.flags;
    const { results, resultsFile, lost } = await runExperiment({
      experiment,
      out: flags.out,
      backend: { backend, isa, threads },
      processes: flags.processes,
      onProgress: (progress) => session.progress.show((columns) => experimentLine(progress, columns)),
      signal: session.signal,
    });
    session.print(
      {
        out: flags.out,
        results: resultsFile,
        cells: results.cells,
        rows: results.rows.length,
        table: macroTable(results),
      },
      [
        'macro perplexity over domains, on held-out text; lower is better',
        toText(macroTable(results)),
        `results: ${resultsFile}`,
        `next: ${typed('report', flags.out)}`,
      ],
      lost === 0 ? [] : [`${lost} worker processes died; others did their work`],
    );
  });
}
