// Builds the native addon. Runs on `npm install`; never fails an install unless SWEETSPOT_REQUIRE_NATIVE=1.
// SWEETSPOT_SKIP_NATIVE=1 skips it; SWEETSPOT_CUDA=AUTO|ON|OFF is handed to CMake, OFF by default
// until the CUDA kernels have run on a GPU. The log is kept in build/install.json.
const { spawnSync } = require('node:child_process');
const fs = require('node:fs');
const path = require('node:path');

const root = path.join(__dirname, '..');
if (process.env.SWEETSPOT_SKIP_NATIVE === '1') process.exit(0);

let ok = false;
let log = '';
try {
  const cli = require.resolve('cmake-js/bin/cmake-js');
  const result = spawnSync(
    process.execPath,
    [
      cli,
      'compile',
      '--parallel',
      '2',
      '--CDCMAKE_BUILD_TYPE=Release',
      `--CDSWEETSPOT_CUDA=${process.env.SWEETSPOT_CUDA ?? 'OFF'}`,
    ],
    {
      cwd: root,
      encoding: 'utf8',
      maxBuffer: 64 << 20,
    },
  );
  ok = result.status === 0;
  log = `${result.stdout ?? ''}${result.stderr ?? ''}${result.error ?? ''}`;
} catch (error) {
  log = String(error);
}
fs.mkdirSync(path.join(root, 'build'), { recursive: true });
fs.writeFileSync(path.join(root, 'build', 'install.json'), JSON.stringify({ ok, log: ok ? '' : log.slice(-8000) }));
if (!ok) {
  console.warn(`sweetspot: the native addon was not built (needs CMake and a C++20 compiler).\n${log.slice(-2000)}`);
  if (process.env.SWEETSPOT_REQUIRE_NATIVE === '1') process.exit(1);
}
