// Builds the native addon. Two callers:
//   npm install      does nothing where a platform package works; never fails an install unless SWEETSPOT_REQUIRE_NATIVE=1.
//                    SWEETSPOT_SKIP_NATIVE=1 skips it.
//   --demand         `npm run build` and `npx sweetspot build`: always builds, shows the compiler's output, fails with 1.
// CUDA kernels are built with --cuda or SWEETSPOT_CUDA=ON, and not by default until they have run on a GPU. What came of it
// is kept in build/install.json, for `npx sweetspot doctor`.
const { spawnSync } = require('node:child_process');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { version } = require('../bindings/version.gen.json');
const { platforms } = require('../bindings/platforms.json');

const root = path.join(__dirname, '..');
const demand = process.argv.includes('--demand');
const cuda = process.argv.includes('--cuda') ? 'ON' : (process.env.SWEETSPOT_CUDA ?? 'OFF');
/** Of the output, in build/install.json: enough for the last errors of a compiler. */
const LOG = 8000;

function keep(outcome) {
  try {
    fs.mkdirSync(path.join(root, 'build'), { recursive: true });
    fs.writeFileSync(path.join(root, 'build', 'install.json'), `${JSON.stringify(outcome)}\n`);
  } catch {
    // A folder that cannot be written to: nothing is built there either.
  }
}

/** The platform package that is installed and loads, of this version. Tried in a process of its own: it may be broken. */
function platformPackage() {
  const script = 'process.exit(require(process.argv[1]).version === process.argv[2] ? 0 : 1)';
  for (const one of platforms) {
    if (one.os !== process.platform || one.cpu !== process.arch) continue;
    try {
      const file = require.resolve(one.package);
      if (spawnSync(process.execPath, ['-e', script, file, version], { stdio: 'ignore' }).status === 0)
        return one.package;
    } catch {
      // Not installed.
    }
  }
  return undefined;
}

function build() {
  let cli;
  try {
    cli = require.resolve('cmake-js/bin/cmake-js');
  } catch (error) {
    return { ok: false, log: String(error) };
  }
  const jobs = Math.max(1, Math.min(os.availableParallelism(), 8));
  const options = ['--parallel', String(jobs), '--CDCMAKE_BUILD_TYPE=Release', `--CDSWEETSPOT_CUDA=${cuda}`];
  const result = spawnSync(process.execPath, [cli, 'compile', ...options], {
    cwd: root,
    encoding: 'utf8',
    maxBuffer: 64 << 20,
    stdio: demand ? ['ignore', 'inherit', 'pipe'] : 'pipe',
  });
  return { ok: result.status === 0, log: `${result.stdout ?? ''}${result.stderr ?? ''}${result.error ?? ''}` };
}

/** One line of why, out of all that cmake-js, CMake and the compiler said. */
function reasonOf(log) {
  if (/CMake executable is not found/i.test(log)) return 'CMake was not found';
  if (
    /C\+\+ Compiler toolset is not available|No CMAKE_CXX_COMPILER could be found|CMAKE_CXX_COMPILER not set|could not find any instance of Visual Studio/i.test(
      log,
    )
  )
    return 'no C++ compiler was found';
  if (/No CMAKE_CUDA_COMPILER|there is no CUDA compiler/i.test(log)) return 'no CUDA compiler was found';
  if (/Cannot find module 'cmake-js/.test(log)) return 'cmake-js is not installed';
  return 'the compiler or CMake reported an error';
}

/** Inside somebody's node_modules only the addon is kept: objects and CMake's files are three times its size. */
function tidy() {
  if (!root.split(path.sep).includes('node_modules')) return;
  for (const name of fs.readdirSync(path.join(root, 'build'))) {
    if (name !== 'Release' && name !== 'install.json')
      fs.rmSync(path.join(root, 'build', name), { recursive: true, force: true });
  }
}

function main() {
  if (!demand && process.env.SWEETSPOT_SKIP_NATIVE === '1')
    return keep({ ok: false, skipped: 'SWEETSPOT_SKIP_NATIVE=1' });
  const found = demand ? undefined : platformPackage();
  if (found !== undefined) return keep({ ok: true, skipped: `${found} is installed` });
  const begin = Date.now();
  const { ok, log } = build();
  const seconds = (Date.now() - begin) / 1000;
  if (ok) {
    tidy();
    return keep({ ok, seconds });
  }
  const reason = reasonOf(log);
  keep({ ok, seconds, reason, log: log.slice(-LOG) });
  if (demand) process.stderr.write(log.slice(-LOG));
  const then = demand
    ? 'a C++20 compiler and CMake are needed'
    : 'WebAssembly will compute; `npx sweetspot doctor` says more';
  console.warn(`sweetspot: the native addon was not built (${reason}): ${then}`);
  if (demand || process.env.SWEETSPOT_REQUIRE_NATIVE === '1') process.exitCode = 1;
}

main();
