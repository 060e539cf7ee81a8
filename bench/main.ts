// npm run bench: how fast the library is on this machine, as shares of the machine's own roofs and beside other libraries.
// See docs/benchmarks.md.
import { readFileSync, writeFileSync } from 'node:fs';
import { compareReports, comparisonTable } from './compare.js';
import { type BenchOptions, parseBenchOptions, selectCases, USAGE } from './options.js';
import { type Report, reportSchema, table } from './result.js';
import { CASES, runBenches } from './suite.js';

async function main(): Promise<number> {
  let options: BenchOptions;
  let before: Report | undefined;
  try {
    options = parseBenchOptions(process.argv.slice(2));
    if (options.compare !== undefined) before = reportSchema.parse(JSON.parse(readFileSync(options.compare, 'utf8')));
  } catch (error) {
    console.error(`${(error as Error).message}\n\n${USAGE}`);
    return 2;
  }
  if (options.list) {
    for (const { group, name } of selectCases(CASES, options)) console.log(`${group.padEnd(10)}${name}`);
    return 0;
  }
  const report = await runBenches(options);
  console.log(`\n${table(report.results)}\n`);
  for (const [name, found] of Object.entries(report.machine.peers)) console.log(`${name}: ${found}`);
  console.log(`${report.results.length} rows in ${report.machine.seconds} s`);
  if (options.json !== undefined) writeFileSync(options.json, `${JSON.stringify(report, null, 1)}\n`);
  if (options.picture !== undefined) {
    // Only pictures need echarts.
    const { writePictures } = await import('./picture.js');
    console.log(`${options.picture}: ${writePictures(report, options.picture).join(', ')}`);
  }
  if (before === undefined) return 0;
  const compared = compareReports(before, report);
  console.log(`\nagainst ${options.compare}\n${comparisonTable(compared)}`);
  const slower = compared.filter((row) => row.regression);
  if (slower.length > 0) console.log(`\n${slower.length} of ${compared.length} rows are slower beyond noise`);
  return slower.length > 0 ? 1 : 0;
}

process.exitCode = await main();
