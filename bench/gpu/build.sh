#!/usr/bin/env bash
# Builds the CUDA library with nvcc alone, on all cores, into .gpu/build/Release: for a machine that has nvcc but neither Node
# nor npm. `build.sh [architecture]`, default sm_90.
set -euo pipefail
cd "$(dirname "$0")/../.."
arch=${1:-sm_90}
objects=$(mktemp -d)
ls native/cuda/*.cu native/cuda/*/*.cu | xargs -P "$(nproc)" -I{} sh -c \
  'nvcc -std=c++17 -O3 -arch='"$arch"' -Xcompiler -fPIC,-fvisibility=hidden -I native -c {} -o '"$objects"'/$(basename {} .cu).o || exit 255'
mkdir -p .gpu/build/Release
nvcc -shared -cudart static -arch="$arch" "$objects"/*.o -o .gpu/build/Release/sweetspot_cuda.so
rm -r "$objects"
ls -l .gpu/build/Release
