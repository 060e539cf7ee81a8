#!/usr/bin/env bash
# Tests and times CUDA on a machine with a GPU, from what pack.sh gathered: `bash bench/gpu/run.sh [part...]`, parts
# conformance, tests, training, bench, peer; default all. run.log and JSON go to $OUT (an absolute path; default .gpu/out).
# Takes under 8 minutes.
set -uo pipefail
cd "$(dirname "$0")/../../.gpu"
OUT=${OUT:-$PWD/out}
mkdir -p "$OUT"
export OUT
log=$OUT/run.log
parts=${*:-conformance tests training bench peer}

tools=$(mktemp -d)
tar -C "$tools" -xJf node.tar.xz
export PATH=$tools:$PATH
[ -d node_modules ] || tar -xJf modules.tar.xz
nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader
node --version
node -e "import('./dist/ts/backend/index.js').then((b) => console.log(b.cudaInfo()))"

failed=
part() {  # name, seconds, command
  local name=$1 limit=$2
  shift 2
  case " $parts " in *" $name "*) ;; *) return ;; esac
  echo "== $name" | tee -a "$log"
  local began=$SECONDS
  timeout -k 5 "$limit" "$@" 2>&1 | tee -a "$log"
  local status=${PIPESTATUS[0]}
  [ "$status" -eq 0 ] || failed="$failed $name($status)"
  echo "== $name: exit $status after $((SECONDS - began)) s" | tee -a "$log"
}

part conformance 150 node dist/bench/gpu/conformance.js cuda 8
part training 60 node dist/bench/gpu/training.js 200
# Tests that follow SWEETSPOT_BACKEND, and the wrong data that every device must report.
part tests 80 env SWEETSPOT_BACKEND=cuda node node_modules/ava/entrypoints/cli.mjs --serial --timeout=60s \
  dist/test/models/training.test.js dist/test/models/gradient.test.js dist/test/models/generate.test.js \
  dist/test/conformance/errors.test.js
part bench 100 node dist/bench/gpu/gpu_bench.js
part peer 100 python3 ../bench/gpu/peer.py
echo "failed:${failed:- nothing}"
[ -z "$failed" ]
