// sweetspot doctor: what this machine offers, what would be chosen, and whether it computes correctly.
import { createRequire } from 'node:module';
import type { Command } from 'commander';
import { cudaInfo, listIsas, loadAddon } from '../../backend/index.js';
import { fields } from '../format.js';
import { selfTest } from '../self_test.js';
import { verb } from '../session.js';

export function doctor(program: Command): void {
  const command = program.command('doctor').description('show what this machine offers, and test that it computes');
  verb(command, async (session) => {
    const { version } = createRequire(import.meta.url)('sweetspot/package.json') as { version: string };
    const addon = loadAddon();
    const isas = listIsas();
    const versions = { sweetspot: version, node: process.version, platform: `${process.platform}-${process.arch}` };
    const shared: [string, string][] = [
      ['sweetspot', version],
      ['Node', `${process.version} on ${versions.platform}`],
    ];
    if (!('addon' in addon)) {
      process.exitCode = 1;
      session.print({ ...versions, ok: false, addon: null, failures: addon.failures }, [
        ...fields([...shared, ...addon.failures.map((failure): [string, string] => ['no addon', failure])]),
        'to fix: install CMake and a C++20 compiler, then npm rebuild sweetspot (in a checkout: npm run build)',
      ]);
      return;
    }
    const { backend } = session;
    const { isa, threads } = backend.capabilities;
    const test = await selfTest(backend);
    if (!test.ok) process.exitCode = 1;
    const cuda = cudaInfo();
    const result = {
      ...versions,
      cuda,
      ok: test.ok,
      addon: addon.path,
      isas,
      backend: backend.name,
      isa,
      threads,
      selfTest: test,
    };
    session.print(result, [
      ...fields([
        ...shared,
        ['addon', addon.path],
        ['CUDA', cuda?.reason ?? (cuda !== undefined && 'name' in cuda ? cuda.name : 'unknown')],
        [
          'backend',
          `${backend.name}, ${isa} (of ${isas.join(', ')}), ${threads} ${threads === 1 ? 'thread' : 'threads'}`,
        ],
        [
          'self-test',
          `${test.ok ? 'passed' : 'FAILED'}, largest error ${test.largestError.toExponential(1)} in a 64 x 64 product`,
        ],
      ]),
    ]);
  });
}
