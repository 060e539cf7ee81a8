// sweetspot doctor: what this machine offers, which backend would compute and why, what the install script did, and whether
// each backend computes.
import { createRequire } from 'node:module';
import type { Command } from 'commander';
import {
  type BackendName,
  type BackendReport,
  chosenBackend,
  loadAddon,
  openBackend,
  SweetspotError,
  surveyBackends,
} from '../../backend/index.js';
import { fields } from '../format.js';
import { type InstallOutcome, installOutcome, machine } from '../machine.js';
import { type SelfTest, selfTest } from '../self_test.js';
import { type GlobalFlags, verb } from '../session.js';

/** Lines of the build's log that are shown. */
const LOG_LINES = 12;

interface Tested extends BackendReport {
  readonly available: boolean;
  /** Instruction set and threads that would be used; null where it cannot be opened. */
  readonly isa: string | null;
  readonly threads: number | null;
  readonly selfTest: SelfTest | { readonly ok: false; readonly error: string } | null;
}

export function doctor(program: Command): void {
  const command = program.command('doctor').description('show what this machine offers, and test that it computes');
  verb(command, async (session) => {
    const { version } = createRequire(import.meta.url)('sweetspot/package.json') as { version: string };
    const [here, install, found] = [machine(), installOutcome(), loadAddon()];
    const addon = 'addon' in found ? { path: found.path, source: found.source } : null;
    const backends = await testAll(surveyBackends(), session.flags);
    const working = backends.filter((one) => one.selfTest?.ok === true);
    const choice = choose(backends, session.flags.backend);
    const chosen = backends.find(({ name }) => name === choice.backend);
    const ok = working.length > 0;
    if (!ok) process.exitCode = 1;
    const result = {
      sweetspot: version,
      machine: here,
      ok,
      backend: choice.backend,
      why: choice.why,
      isa: chosen?.isa ?? null,
      threads: chosen?.threads ?? null,
      isas: backends.find(({ name }) => name === 'cpu')!.variants,
      backends,
      addon,
      addonFailures: found.failures,
      install: install ?? null,
    };
    const memory = `${(here.memoryBytes / 2 ** 30).toFixed(1)} GiB`;
    session.print(result, [
      ...fields([
        ['sweetspot', version],
        ['machine', `${here.processor}, ${here.cores} cores, ${memory}`],
        ['system', `${here.platform}${here.libc === null ? '' : `, ${here.libc}`}, Node ${here.node}`],
        ['addon', addon === null ? 'none' : `${addon.path} (${addon.source})`],
        ...found.failures.map((failure): [string, string] => ['', `passed over: ${failure}`]),
        ['install', installLine(install)],
        ...backends.flatMap(backendLines),
        ['chosen', `${choice.backend ?? 'none'}: ${choice.why}`],
      ]),
      ...logTail(install),
      ...(addon === null ? ['to build the addon: npx sweetspot build (needs CMake and a C++20 compiler)'] : []),
    ]);
  });
}

/** Every backend that can be opened trains and writes; losses are compared with those of the first. */
async function testAll(reports: readonly BackendReport[], flags: GlobalFlags): Promise<Tested[]> {
  const { isa: wanted } = flags;
  if (wanted !== undefined && !reports.some(({ variants }) => variants.includes(wanted))) {
    throw new SweetspotError('SWEETSPOT_USAGE', {
      what: `the instruction set '${wanted}' cannot be used here`,
      expected: `one of ${reports.flatMap(({ variants }) => variants).join(', ')}`,
    });
  }
  const tested: Tested[] = [];
  let expected: readonly number[] | undefined;
  for (const report of reports) {
    const available = report.reasons.length === 0;
    let opened: { isa: string; threads: number } | undefined;
    let outcome: Tested['selfTest'] = null;
    if (available) {
      try {
        const isa = report.variants.includes(wanted ?? '') ? wanted : undefined;
        const backend = openBackend({ threads: flags.threads, isa, backend: report.name });
        opened = backend.capabilities;
        try {
          const result = await selfTest(backend, expected);
          if (result.ok) expected ??= result.losses;
          outcome = result;
        } finally {
          await backend.close();
        }
      } catch (error) {
        outcome = { ok: false, error: (error as Error).message };
      }
    }
    const { isa = null, threads = null } = opened ?? {};
    tested.push({ ...report, available, isa, threads, selfTest: outcome });
  }
  return tested;
}

/** What `openBackend` would take, and why. */
function choose(backends: readonly Tested[], flag: string | undefined): { backend: BackendName | null; why: string } {
  const wanted = chosenBackend(flag);
  const available = (name: BackendName) => backends.find((one) => one.name === name)!.available;
  if (wanted !== 'auto') {
    const by = flag === undefined ? 'SWEETSPOT_BACKEND' : '--backend';
    if (available(wanted)) return { backend: wanted, why: `asked for by ${by}` };
    return { backend: null, why: `${by} asks for ${wanted}, which cannot be used here` };
  }
  if (available('cpu')) return { backend: 'cpu', why: 'auto takes the native addon where there is one' };
  if (available('wasm')) return { backend: 'wasm', why: 'auto takes WebAssembly where there is no native addon' };
  return { backend: null, why: 'there is neither a native addon nor WebAssembly' };
}

function backendLines({ name, variants, reasons, isa, threads, selfTest: test }: Tested): [string, string][] {
  if (reasons.length > 0) return [[name, `cannot be used: ${reasons.join('; ')}`]];
  const place =
    isa === null ? '' : `${isa} (of ${variants.join(', ')}), ${threads} ${threads === 1 ? 'thread' : 'threads'}; `;
  if (test === null || 'error' in test) return [[name, `${place}self-test FAILED: ${test?.error ?? 'not run'}`]];
  const { losses, difference, seconds, text, ok } = test;
  const how = `${losses.length} training steps, loss ${losses[0]!.toFixed(2)} to ${losses.at(-1)!.toFixed(2)}`;
  const apart = difference === 0 ? '' : `, ${difference.toExponential(1)} from the first backend`;
  return [
    [name, `${place}self-test ${ok ? 'passed' : 'FAILED'} in ${seconds.toFixed(1)} s: ${how}${apart}`],
    ['', `it wrote: ${JSON.stringify(text)}`],
  ];
}

function installLine(install: InstallOutcome | undefined): string {
  if (install === undefined) return 'the install script has not run (--ignore-scripts, or npm blocked it)';
  if (install.skipped !== undefined) return `nothing was built: ${install.skipped}`;
  if (install.ok)
    return `the addon was built${install.seconds === undefined ? '' : ` in ${install.seconds.toFixed(0)} s`}`;
  return `the build failed: ${install.reason ?? 'see build/install.json'}`;
}

function logTail(install: InstallOutcome | undefined): string[] {
  if (!install?.log) return [];
  const lines = install.log.trimEnd().split('\n').slice(-LOG_LINES);
  return ['', 'end of the log of the build:', ...lines.map((line) => `  ${line}`), ''];
}
