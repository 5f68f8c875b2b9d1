#!/usr/bin/env bash
# What to run on a machine with a CUDA GPU and no network:
#
#   benchmarks/device/run.sh OUT_DIR
#
# Parts run in order of worth, each under a time limit, and go on when one fails. OUT_DIR gets
# summary.txt (exit status and seconds of each part), log.txt (all output), environment.json,
# ops.json and steps.json (pytest-benchmark), report.md and chart.png. Nothing is written into the
# source tree. Without a GPU the parts that need one are skipped and the exit status is 0; with one
# it is 1 if a part failed.
#
#   GANKIT_DEVICE_BUDGET  seconds for everything (540)
#   GANKIT_DEVICE_PARTS   the parts to run, separated by blanks (all)
#   GANKIT_COMMIT         the commit, where the tree comes without its history
#   PYTHON                an interpreter with torch, setuptools, pybind11, CMake, Ninja, pytest,
#                         pytest-benchmark, hypothesis and matplotlib (python3)
set -uo pipefail

ALL_PARTS="environment build conformance-native conformance-triton graphs memcheck racecheck
  bandwidth benchmark-ops benchmark-steps report memcheck-triton benchmark-all"

# --- parts ------------------------------------------------------------------------------------

part_environment() {
  uname -a
  nvidia-smi || echo "nvidia-smi: not there or failing"
  nvcc --version || echo "nvcc: not on PATH"
  compute-sanitizer --version || echo "compute-sanitizer: not on PATH"
  "$PYTHON" -m pip --version
  "$PYTHON" -c 'import torch; print("torch", torch.__version__, "CUDA", torch.version.cuda)'
  echo "commit $GANKIT_COMMIT"
}

part_build() {
  if [ "$HAS_CUDA" = 1 ]; then
    # For this GPU alone, and an error if the CUDA part cannot be built.
    export GANKIT_BUILD=${GANKIT_BUILD:-cuda}
    export TORCH_CUDA_ARCH_LIST=${TORCH_CUDA_ARCH_LIST:-$("$PYTHON" -c \
      'import torch; print("%d.%d" % torch.cuda.get_device_capability())')}
  fi
  "$PYTHON" -m pip install --quiet --disable-pip-version-check --no-index --no-build-isolation \
    --no-deps --no-compile --target "$WORK/site" "$WORK/source" &&
    PYTHONPATH=$WORK/site "$PYTHON" -m gankit doctor
}

require_backend() {
  "$PYTHON" - "$1" <<'END'
import sys
from gankit.ops import backends
found = backends.availability(sys.argv[1], "cuda")
print(f"{sys.argv[1]} on cuda: {found.reason}")
sys.exit(not found.available)
END
}

part_conformance-native() {
  require_backend native || return
  local status=0
  "$PYTHON" -m benchmarks.device.exercise_kernels --large --huge || status=1
  GANKIT_TEST_DEVICES=cuda "$PYTHON" -m pytest tests/ops tests/nn -q \
    -k "not triton-cuda and not test_triton_compile" || status=1
  return $status
}

part_conformance-triton() {
  require_backend triton || return
  local status=0
  "$PYTHON" -m benchmarks.device.exercise_kernels --backend triton --huge || status=1
  GANKIT_TEST_DEVICES=cuda "$PYTHON" -m pytest tests/ops -q -k triton-cuda || status=1
  return $status
}

part_graphs() {
  # The training step replayed as a CUDA graph against the same step run eagerly.
  "$PYTHON" -m pytest tests/training/test_graph.py tests/training/test_step_options.py -q
}

sanitize() {
  # Without torch's pool every tensor is an allocation of its own, and its end is guarded.
  PYTORCH_NO_CUDA_MEMORY_CACHING=1 compute-sanitizer --tool "$1" --error-exitcode 9 \
    --print-limit 20 "$PYTHON" -m benchmarks.device.exercise_kernels --backend "$2"
}

part_memcheck() { require_backend native && sanitize memcheck native; }
part_racecheck() { require_backend native && sanitize racecheck native; }
part_memcheck-triton() { require_backend triton && sanitize memcheck triton; }

part_bandwidth() { "$PYTHON" -m benchmarks.bandwidth --device cuda; }

record() {
  local name=$1
  shift
  # A run that is cut off writes no JSON and leaves the one before in place.
  "$PYTHON" -m pytest "$@" -q --device cuda --benchmark-json="$WORK/$name.json" \
    --benchmark-columns=median,iqr,min,rounds
  local status=$?
  [ ! -s "$WORK/$name.json" ] || cp "$WORK/$name.json" "$OUT/$name.json"
  return $status
}

part_benchmark-ops() { record ops benchmarks/ops --seconds 0.15 --leave-out max-autotune; }

part_benchmark-steps() {
  record steps benchmarks/steps --seconds 0.15 --leave-out max-autotune --batch-sizes 60,512
}

part_report() {
  "$PYTHON" -m benchmarks.environment --device cuda >"$OUT/environment.json"
  local runs=()
  for file in "$OUT/ops.json" "$OUT/steps.json"; do
    [ ! -s "$file" ] || runs+=("$file")
  done
  [ ${#runs[@]} -gt 0 ] || { echo "no benchmark finished" && return 1; }
  "$PYTHON" -m benchmarks.report "${runs[@]}" --out "$WORK/results" &&
    cp "$WORK"/results/*/report.md "$WORK"/results/*/chart.png "$OUT/"
}

# The compiler's most thorough mode takes minutes to compile: last, in place of the shorter runs.
part_benchmark-all() {
  record steps benchmarks/steps --seconds 0.15 --batch-sizes 60,512 &&
    record ops benchmarks/ops --seconds 0.15 && part_report
}

# --- one part, in a process of its own --------------------------------------------------------

if [ "${1:-}" = --part ]; then
  cd "$WORK/run" || exit 1
  PYTHONPATH=$WORK/source
  [ ! -d "$WORK/site/gankit" ] || PYTHONPATH=$WORK/site
  export PYTHONPATH
  "part_$2"
  exit
fi

# --- all parts --------------------------------------------------------------------------------

if [ $# -ne 1 ]; then
  echo "usage: $0 OUT_DIR" >&2
  exit 2
fi
mkdir -p "$1" || exit 2
OUT=$(cd "$1" && pwd)
ROOT=$(cd "$(dirname "$0")/../.." && pwd)
PYTHON=$(command -v "${PYTHON:-python3}") || { echo "$0: no Python interpreter" >&2 && exit 2; }
WORK=$(mktemp -d)
trap 'rm -rf "$WORK"' EXIT
GANKIT_COMMIT=${GANKIT_COMMIT:-$(git -C "$ROOT" rev-parse --short=12 HEAD 2>/dev/null)}
GANKIT_COMMIT=${GANKIT_COMMIT:-unknown}
HAS_CUDA=$("$PYTHON" -c 'import torch; print(int(torch.cuda.is_available()))' 2>/dev/null)
HAS_CUDA=${HAS_CUDA:-0}
export OUT PYTHON WORK GANKIT_COMMIT HAS_CUDA
export PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1

BUDGET=${GANKIT_DEVICE_BUDGET:-540}
PARTS=${GANKIT_DEVICE_PARTS:-$ALL_PARTS}
SECONDS=0
failures=0

# The build writes beside its sources, so it gets a copy; and the tests must meet the installed
# package, so they run from a folder without one.
mkdir -p "$WORK/source" "$WORK/run"
tar -C "$ROOT" -cf - --exclude='*.so' --exclude=_build_report.json --exclude=__pycache__ \
  pyproject.toml setup.py MANIFEST.in README.md LICENSE CMakeLists.txt cmake build_backend csrc \
  gankit | tar -C "$WORK/source" -xf - || exit 1
cp -r "$ROOT/benchmarks" "$ROOT/tests" "$ROOT/pyproject.toml" "$WORK/run/" || exit 1

note() { printf '%-20s %-32s %5s s\n' "$1" "$2" "$3" | tee -a "$OUT/summary.txt"; }

run_part() {
  local name=$1 limit=$2 needs=$3
  case " $(echo $PARTS) " in *" $name "*) ;; *) return ;; esac
  if [ "$needs" = cuda ] && [ "$HAS_CUDA" != 1 ]; then
    note "$name" "skipped: no CUDA device" 0
    return
  fi
  local left=$((BUDGET - SECONDS)) start=$SECONDS status
  if [ $left -lt 10 ]; then
    note "$name" "skipped: out of time" 0
    return
  fi
  [ "$limit" -le "$left" ] || limit=$left
  printf '\n==== %s (at most %s s)\n' "$name" "$limit" >>"$OUT/log.txt"
  timeout --kill-after=5 "$limit" bash "$ROOT/benchmarks/device/run.sh" --part "$name" \
    >>"$OUT/log.txt" 2>&1
  status=$?
  case $status in
    0) note "$name" "exit 0" $((SECONDS - start)) ;;
    124 | 137) note "$name" "exit $status: over its limit" $((SECONDS - start)) ;;
    *) note "$name" "exit $status" $((SECONDS - start)) ;;
  esac
  if [ $status -ne 0 ]; then
    failures=$((failures + 1))
    tail -n 15 "$OUT/log.txt" | cut -c 1-300 | sed 's/^/    /'
  fi
}

: >"$OUT/log.txt"
{
  echo "commit $GANKIT_COMMIT, $(date -u '+%Y-%m-%d %H:%M UTC'), budget $BUDGET s"
  nvidia-smi --query-gpu=name,driver_version --format=csv,noheader 2>/dev/null || echo "no GPU"
} | tee "$OUT/summary.txt"

run_part environment 30 any
run_part build 180 any
run_part conformance-native 120 cuda
run_part conformance-triton 120 cuda
run_part graphs 60 cuda
run_part memcheck 90 cuda
run_part racecheck 60 cuda
run_part bandwidth 30 cuda
run_part benchmark-ops 180 cuda
run_part benchmark-steps 120 cuda
run_part report 40 cuda
run_part memcheck-triton 60 cuda
run_part benchmark-all 400 cuda

[ ! -s "$OUT/report.md" ] || sed -n '/^## Summary/,/^!/p' "$OUT/report.md" | sed '1d;$d'
echo "$failures parts failed, $SECONDS s in all" | tee -a "$OUT/summary.txt"
[ "$HAS_CUDA" != 1 ] || [ $failures -eq 0 ]
