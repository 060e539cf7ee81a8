#!/usr/bin/env bash
# Builds, checks and times CUDA on a machine with a GPU, from this folder and what pack.sh gathered:
#   bash bench/gpu/run.sh              the plan below, in its order
#   bash bench/gpu/run.sh part...      some of it, or of what is asked for by name alone
# What proves correctness comes first. A part that fails or takes longer than its limit does not stop the next; all together
# take at most $SECONDS_IN_ALL (480). run.log and JSON go to $OUT (an absolute path; default .gpu/out), 8 files at most; the
# last thing printed is the table of figures. SWEETSPOT_CUDA_WGMMA=0 leaves wgmma out; so does a verdict of `suspects`.
set -uo pipefail
cd "$(dirname "$0")/../.."
OUT=${OUT:-$PWD/.gpu/out}
mkdir -p "$OUT"
export OUT
log=$OUT/run.log
deadline=$((SECONDS + ${SECONDS_IN_ALL:-480}))
# SMALL=1, few STEPS and some OPS: to try all of this out over the emulator.
small=${SMALL:+--small}

# NVIDIA's library of products: PyTorch's, else that of the toolkit.
if [ -z "${SWEETSPOT_CUBLASLT:-}" ]; then
  beside=$(python3 -c 'import os, torch; print(os.path.dirname(os.path.dirname(torch.__file__)))' 2>/dev/null)
  SWEETSPOT_CUBLASLT=$(ls "$beside"/nvidia/*/lib/libcublasLt.so.1[23] /usr/local/cuda*/lib64/libcublasLt.so.1[23] 2>/dev/null | head -n 1)
  export SWEETSPOT_CUBLASLT
fi

# part, limit in seconds, command (in .gpu)
gpu_bench="node dist/bench/gpu/gpu_bench.js $small --append --only"
peer="python3 ../bench/gpu/peer.py $small --append --only"
plan=(
  "build          90 bash ../bench/gpu/build.sh"
  "suspects       25 node dist/bench/gpu/suspects.js $small"
  "conformance   120 node dist/bench/gpu/conformance.js cuda,cuda/tf32,cuda/bf16 12 ${OPS:-}"
  "training       90 node dist/bench/gpu/training.js ${STEPS:-200} $small"
  "tests          60 env SWEETSPOT_BACKEND=cuda node node_modules/ava/entrypoints/cli.mjs --serial --timeout=40s
                     dist/test/models/training.test.js dist/test/models/gradient.test.js
                     dist/test/models/generate.test.js dist/test/conformance/errors.test.js"
  "roof           20 $gpu_bench roof"
  "steps          90 $gpu_bench steps"
  "products       60 $gpu_bench products"
  "bank           30 $gpu_bench bank"
  "attention      20 $gpu_bench attention"
  "routing        20 $gpu_bench routing"
  "peer-steps    100 $peer steps"
  "peer           60 $peer roof,products,attention,routing"
  "cublaslt       60 env SWEETSPOT_CUDA_GEMM=cublaslt node dist/bench/gpu/gpu_bench.js $small --only products,steps --file cublaslt.json"
)
# By name alone: slow, for a second visit.
more=(
  "sanitize      200 compute-sanitizer --tool memcheck --target-processes all --error-exitcode 9
                     node dist/bench/gpu/conformance.js cuda 4 ${OPS:-gemm,grouped_gemm,attention,attention_backward,bank_mix,bank_adamw}"
)
parts=$*
if [ -z "$parts" ]; then
  parts=$(for line in "${plan[@]}"; do echo "${line%% *}"; done)
  rm -f "$OUT"/*.json "$log"
fi

tools=$(mktemp -d)
# Not every machine has xz.
unpack() { tar -C "$2" -xJf "$1" 2>/dev/null || python3 -m tarfile -e "$1" "$2"; }
unpack .gpu/node.tar.xz "$tools"
export PATH=$tools:$PATH
cd .gpu
[ -d node_modules ] || unpack modules.tar.xz .
{
  nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader
  echo "node $(node --version), $(nproc) cores, cuBLASLt: ${SWEETSPOT_CUBLASLT:-not found}"
} 2>&1 | tee -a "$log"

# What suspects found wanting is not used by the parts behind it, nor by those that are run later.
heed_suspects() {
  [ -z "${SWEETSPOT_CUDA_WGMMA:-}" ] && grep -qs '"wgmma":"wrong"' "$OUT/suspects.json" || return
  export SWEETSPOT_CUDA_WGMMA=0
  echo "== wgmma is wrong on this device: mma.sync multiplies from here on" | tee -a "$log"
}

failed=
part() { # name, limit, command
  local name=$1 limit=$2 left=$((deadline - SECONDS)) began=$SECONDS status
  shift 2
  [ "$name" = suspects ] || heed_suspects
  [ "$limit" -le "$left" ] || limit=$left
  if [ "$name" = cublaslt ] && [ -z "$SWEETSPOT_CUBLASLT" ]; then
    echo "== $name: there is no libcublasLt" | tee -a "$log"
    failed="$failed $name(not found)"
    return
  fi
  if [ "$limit" -lt 5 ]; then
    echo "== $name: no time left" | tee -a "$log"
    failed="$failed $name(no time)"
    return
  fi
  echo "== $name" | tee -a "$log"
  timeout -k 3 "$limit" "$@" 2>&1 | tee -a "$log" | cut -c 1-400
  status=${PIPESTATUS[0]}
  [ "$status" -eq 0 ] || failed="$failed $name($status)"
  # The library lies beside the addon.
  [ "$name" != build ] || cp ../build/gpu/sweetspot_cuda.so build/Release/
  echo "== $name: exit $status after $((SECONDS - began)) s" | tee -a "$log"
}
for wanted in $parts; do
  for line in "${plan[@]}" "${more[@]}"; do
    # shellcheck disable=SC2086 # words of a command
    [ "${line%% *}" != "$wanted" ] || part $line
  done
done

node dist/bench/gpu/figures.js "$OUT" 2>&1 | tee -a "$log"
echo "in all $SECONDS s; failed:${failed:- nothing}" | tee -a "$log"
[ -z "$failed" ]
