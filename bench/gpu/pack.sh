#!/usr/bin/env bash
# Gathers into .gpu/ what a machine with a GPU, nvcc and PyTorch but without Node and registries needs besides this folder:
# Node, the compiled TypeScript, the few modules it imports, and the addon. `pack.sh [folder of the addon]`, default
# build/Release; the addon is built first: `npm run build`. The CUDA library is built there (build.sh). Then carry this
# folder with .gpu and run bench/gpu/run.sh.
set -euo pipefail
cd "$(dirname "$0")/../.."
binaries=${1:-build/Release}
mkdir -p .gpu/build/Release .gpu/bench/gpu .gpu/bindings .gpu/native/cuda

if [ ! -e .gpu/node.tar.xz ]; then
  stripped=$(mktemp -d)
  cp "$(node -p process.execPath)" "$stripped/node"
  strip "$stripped/node"
  tar -C "$stripped" -c node | xz -T2 -6 >.gpu/node.tar.xz
  rm -r "$stripped"
fi
if [ ! -e .gpu/modules.tar.xz ]; then
  # The test runner and what the library imports, with all that these depend on.
  node -e '
    const { existsSync, readdirSync, readFileSync } = require("node:fs");
    const found = new Set();
    const add = (name, beside) => {
      const folder = [`${beside}/node_modules/${name}`, `node_modules/${name}`].find(existsSync);
      if (folder === undefined || found.has(folder)) return;
      found.add(folder);
      for (const needed of Object.keys(JSON.parse(readFileSync(`${folder}/package.json`, "utf8")).dependencies ?? {}))
        add(needed, folder);
    };
    for (const name of ["ava", "@assemblyscript/loader", "commander", "cli-progress"]) add(name, ".");
    console.log([...found].join("\n"));' |
    tar -ch --exclude='*.map' --exclude='*.d.ts' -T - | xz -T2 -6 >.gpu/modules.tar.xz
fi
# Type errors stop nothing here; `npm run check` reports them.
node_modules/.bin/tsc -p tsconfig.json --outDir .gpu/dist --sourceMap false --declaration false >/dev/null || true
rm -rf .gpu/dist/examples
mkdir -p .gpu/dist/ts/vendor
cp -r dist/ts/vendor/. .gpu/dist/ts/vendor/
cp package.json .gpu/
cp bench/gpu/shapes*.json .gpu/bench/gpu/
cp bindings/*.json .gpu/bindings/
# For the count of bytes.
cp bench/gpu/count_bytes.c .gpu/bench/gpu/
cp native/cuda/api.h .gpu/native/cuda/
cp "$binaries/sweetspot.node" .gpu/build/Release/
du -sh .gpu/*
echo "$(du -sm .gpu | cut -f1) MiB of at most 55"
[ "$(du -sm .gpu | cut -f1)" -le 55 ]
