// sweetspot report: the results of an experiment as pages with figures.

import path from 'node:path';
import type { Command } from 'commander';
import { writeReport } from '../../report/report.js';
import { fields } from '../format.js';
import { verb } from '../session.js';

export function report(program: Command): void {
  const command = program
    .command('report')
    .description('write the figures and tables of an experiment as report.html and report.md')
    .argument('<folder>', 'folder of `sweetspot experiment`')
    .option('--out <folder>', 'where to write (default: report/ in that folder)');
  verb<{ readonly out?: string }>(command, async (session, flags, folder) => {
    const result = await writeReport(folder!, flags.out ?? path.join(folder!, 'report'));
    session.print(result, [
      ...fields([
        ['page', result.html],
        ['markdown', result.markdown],
        ['figures', result.figures.join(', ') || 'none'],
      ]),
      ...result.missing.map(({ title, add }) => `not shown: ${title}; ${add}`),
    ]);
  });
}
