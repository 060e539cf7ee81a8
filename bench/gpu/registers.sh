#!/usr/bin/env bash
# Registers, shared memory and spills of every kernel, from the compiler: `registers.sh [compute capability] [file...]`, default
# 90a and all files. Needs nvcc and c++filt, no GPU. Dynamic shared memory is not in it: kernels ask for it when they are launched.
set -euo pipefail
cd "$(dirname "$0")/../.."
capability=${1:-90a}
[ $# -eq 0 ] || shift
files=${*:-$(ls native/cuda/*.cu native/cuda/*/*.cu)}
for file in $files; do
  nvcc -std=c++20 -O3 -gencode="arch=compute_$capability,code=sm_$capability" -I native -Xptxas -v -c "$file" -o /dev/null 2>&1 |
    c++filt | sed -n "s/.*Compiling entry function '\(.*\)' for.*/\1/p; s/ *\([0-9]* bytes stack frame.*\)/    \1/p; s/.*\(Used .*\)/    \1/p"
done
