#!/usr/bin/env bash
# Builds the CUDA library with nvcc alone, on all cores, into build/gpu: for a machine that has nvcc but neither Node nor
# npm, and a GPU, whose architecture is the only one built for. `build.sh [compute capability]`, default that of the GPU.
# Does nothing when the sources are those of the last build. The flags are those of CMakeLists.txt.
set -euo pipefail
cd "$(dirname "$0")/../.."
capability=${1:-$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader | head -n 1)}
number=${capability//./}
# wgmma and its like are in 90a alone.
[ "$number" = 90 ] && number=90a
out=build/gpu
stamp=$( (echo "$number" && cat "$0" native/cuda/*.* native/cuda/*/* native/core/*.h) | sha256sum)
if [ -e "$out/sweetspot_cuda.so" ] && [ "$(cat "$out/stamp" 2>/dev/null)" = "$stamp" ]; then
  echo "built already for $number"
  exit
fi
began=$SECONDS
mkdir -p "$out"
rm -f "$out"/*.o "$out/sweetspot_cuda.so"
# The files that take longest first: kernels in many forms.
first='native/cuda/gemm/*.cu native/cuda/kernels/routing.cu native/cuda/kernels/embedding.cu native/cuda/kernels/attention*.cu
  native/cuda/kernels/bank*.cu'
printf '%s\n' $first native/cuda/kernels/*.cu native/cuda/*.cu | awk '!seen[$0]++' | xargs -P "$(nproc)" -I{} sh -c '
  nvcc -std=c++20 -O3 -DNDEBUG --generate-code=arch=compute_'"$number"',code=sm_'"$number"' -Xcompiler=-fPIC \
    -Xcompiler=-fvisibility=hidden -I native -c {} -o '"$out"'/$(echo {} | tr / _).o || exit 255'
nvcc -shared -cudart static "$out"/*.o -ldl -o "$out/sweetspot_cuda.so"
echo "$stamp" >"$out/stamp"
rm "$out"/*.o
echo "built for $number in $((SECONDS - began)) s: $(stat -c %s "$out/sweetspot_cuda.so") bytes"
