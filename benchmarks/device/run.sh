#!/usr/bin/env bash
# What to run on a machine with a CUDA GPU and no network:
#
#   benchmarks/device/run.sh OUT_DIR
#
# Parts run in order of worth, each under a time limit, and go on when one fails. The limits up to
# the report of the benchmarks add up to no more than the budget; what follows gets the time that
# is left. OUT_DIR gets summary.txt (exit status and seconds of each part; last, what to mend
# first), log.txt (all output), environment.json, ops.json and steps.json (pytest-benchmark),
# report.md, chart.png and ncu.csv, each as soon as it is known. Nothing is written into the source
# tree. Without a GPU the parts that need one are skipped and the exit status is 0; with one it is 1
# if a part failed.
#
#   GANKIT_DEVICE_BUDGET  seconds for everything (540; 1800 in a dry run)
#   GANKIT_DEVICE_PARTS   the parts to run, separated by blanks (all)
#   GANKIT_DEVICE_DRY     1: start every part on the CPU with the least work, to see that it starts
#   GANKIT_COMMIT         the commit, where the tree comes without its history
#   PYTHON                an interpreter with torch, setuptools, pybind11, CMake, Ninja, pytest,
#                         pytest-benchmark, hypothesis and matplotlib (python3)
set -uo pipefail
UNDER=()

ALL_PARTS="environment build sample-native sample-triton graphs bandwidth benchmark-ops
  benchmark-steps report memcheck racecheck profile conformance-native conformance-triton
  memcheck-triton benchmark-all"

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
  local site=$WORK/site
  if [ "$DRY" = 1 ]; then
    # The dry run tests the compiled package at hand; that a package can be built, without kernels.
    export GANKIT_BUILD=reference
    site=$WORK/site-without-kernels
  elif [ "$HAS_CUDA" = 1 ]; then
    # For this GPU alone, and an error if the CUDA part cannot be built.
    export GANKIT_BUILD=${GANKIT_BUILD:-cuda}
    export TORCH_CUDA_ARCH_LIST=${TORCH_CUDA_ARCH_LIST:-$("$PYTHON" -c \
      'import torch; print("%d.%d" % torch.cuda.get_device_capability())')}
  fi
  "$PYTHON" -m pip install --quiet --disable-pip-version-check --no-index --no-build-isolation \
    --no-deps --no-compile --target "$site" "$WORK/source" &&
    PYTHONPATH=$site "$PYTHON" -m gankit doctor
}

# Fails, with the reason, where the backend is missing.
exercise() {
  local backend=$1
  shift
  "${UNDER[@]}" "$PYTHON" -m benchmarks.device.exercise_kernels --device "$DEVICE" \
    --backend "$backend" "$@"
}

# Every op and dtype in a few calls: what is plainly broken shows here, in seconds.
part_sample-native() { exercise native --calls "$CALLS"; }
part_sample-triton() { exercise triton --calls "$CALLS"; }

tests() { GANKIT_TEST_DEVICES=$DEVICE "$PYTHON" -m pytest $COLLECT -q "$@"; }

part_conformance-native() {
  local status=0
  exercise native $EVERYTHING --large --huge || status=1
  tests tests/ops tests/nn -k "not triton-$DEVICE and not test_triton_compile" || status=1
  return $status
}

part_conformance-triton() {
  local status=0
  exercise triton $EVERYTHING --huge || status=1
  tests tests/ops -k "triton-$DEVICE" || status=1
  return $status
}

part_graphs() {
  # The training step replayed as a CUDA graph against the same step run eagerly.
  tests tests/training/test_graph.py tests/training/test_step_options.py
}

sanitize() {
  local UNDER=(compute-sanitizer --tool "$1" --error-exitcode 9 --print-limit 20)
  [ "$DRY" != 1 ] || UNDER=()
  # Without torch's pool every tensor is an allocation of its own, and its end is guarded.
  PYTORCH_NO_CUDA_MEMORY_CACHING=1 exercise "$2" $EVERYTHING
}

part_memcheck() { sanitize memcheck native; }
part_racecheck() { sanitize racecheck native; }
part_memcheck-triton() { sanitize memcheck triton; }

part_bandwidth() { "$PYTHON" -m benchmarks.bandwidth --device "$DEVICE" $BUFFERS; }

# Achieved bandwidth, occupancy and registers of four kernels, from the hardware's counters.
part_profile() {
  local program=("$PYTHON" -m benchmarks.device.profile_kernels --device "$DEVICE" $IMAGES)
  if [ "$DRY" = 1 ]; then
    "${program[@]}"
    return
  fi
  local counters=gpu__time_duration.sum,dram__throughput.avg.pct_of_peak_sustained_elapsed
  counters+=,sm__throughput.avg.pct_of_peak_sustained_elapsed,launch__registers_per_thread
  counters+=,sm__warps_active.avg.pct_of_peak_sustained_active
  ncu --clock-control none --kernel-name-base demangled --kernel-name regex:gankit:: \
    --metrics "$counters" --csv --log-file "$OUT/ncu.csv" "${program[@]}"
  local status=$?
  cat "$OUT/ncu.csv"
  return $status
}

record() {
  local name=$1
  shift
  # A run that is cut off writes no JSON and leaves the one before in place.
  "$PYTHON" -m pytest "$@" -q --device "$DEVICE" --benchmark-json="$WORK/$name.json" \
    --benchmark-columns=median,iqr,min,rounds
  local status=$?
  [ ! -s "$WORK/$name.json" ] || cp "$WORK/$name.json" "$OUT/$name.json"
  return $status
}

# A run that is killed writes nothing, so the last race begins some seconds before the part's limit.
part_benchmark-ops() {
  record ops benchmarks/ops $RACE_OPS --leave-out "$LEFT_OUT" --time-limit $((LIMIT - 25))
}
part_benchmark-steps() {
  record steps benchmarks/steps $RACE_STEPS --leave-out "$LEFT_OUT" --time-limit $((LIMIT - 35))
}

part_report() {
  "$PYTHON" -m gankit.bench.environment --device "$DEVICE" >"$OUT/environment.json"
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
  record steps benchmarks/steps $RACE_STEPS $LESS --time-limit $((LIMIT / 2 - 60)) &&
    record ops benchmarks/ops $RACE_OPS $LESS --time-limit $((LIMIT / 2 - 30)) && part_report
}

# --- one part, in a process of its own --------------------------------------------------------

if [ "${1:-}" = --part ]; then
  cd "$WORK/run" || exit 1
  PYTHONPATH=$PACKAGE
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
DRY=${GANKIT_DEVICE_DRY:-0}
export OUT PYTHON WORK GANKIT_COMMIT HAS_CUDA DRY
export DEVICE=cuda CALLS=12 EVERYTHING="" COLLECT="" BUFFERS="" IMAGES="" LEFT_OUT=max-autotune LESS=""
export RACE_OPS="--seconds 0.15" RACE_STEPS="--seconds 0.15 --batch-sizes 60,512"
export PACKAGE=$WORK/source
if [ "$DRY" = 1 ]; then
  DEVICE=cpu CALLS=1 EVERYTHING="--calls 1" COLLECT="--collect-only -qq" BUFFERS="--megabytes 1"
  IMAGES="--images 1" LEFT_OUT=compile LESS="--leave-out compile" PACKAGE=$ROOT
  RACE_OPS="--seconds 0.001 --threads 1 -k linear-forward-8x64x64"
  RACE_STEPS="--seconds 0.001 --threads 1 --batch-sizes 8 -k mlp-step-batch-8-"
  export TRITON_INTERPRET=1
fi

BUDGET=${GANKIT_DEVICE_BUDGET:-$([ "$DRY" = 1 ] && echo 1800 || echo 540)}
PARTS=${GANKIT_DEVICE_PARTS:-$ALL_PARTS}
SECONDS=0
failures=0
mend=()

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
  if [ "$needs" = cuda ] && [ "$HAS_CUDA" != 1 ] && [ "$DRY" != 1 ]; then
    note "$name" "skipped: no CUDA device" 0
    return
  fi
  local left=$((BUDGET - SECONDS)) start=$SECONDS status
  if [ $left -lt 10 ]; then
    note "$name" "skipped: out of time" 0
    return
  fi
  # Importing torch alone can take a small machine longer than a part may take on a large one.
  [ "$DRY" != 1 ] || limit=300
  [ "$limit" -le "$left" ] || limit=$left
  printf '\n==== %s (at most %s s)\n' "$name" "$limit" >>"$OUT/log.txt"
  LIMIT=$limit timeout --kill-after=5 "$limit" bash "$ROOT/benchmarks/device/run.sh" --part "$name" \
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
    mend+=("$name: $(first_fault "$name")")
  fi
}

# The first line of a part's output that says what failed, or its last.
first_fault() {
  local said
  said=$(awk -v part="==== $1 " 'index($0, "==== ") == 1 { inside = index($0, part) == 1; next }
    inside && NF' "$OUT/log.txt")
  { grep -m 1 -E '^(FAILED|ERROR|E  )|[Ee]rror[: ]|ERROR SUMMARY|differ' <<<"$said" ||
    tail -n 1 <<<"$said"; } | cut -c 1-200
}

: >"$OUT/log.txt"
{
  echo "commit $GANKIT_COMMIT, $(date -u '+%Y-%m-%d %H:%M UTC'), budget $BUDGET s"
  nvidia-smi --query-gpu=name,driver_version --format=csv,noheader 2>/dev/null || echo "no GPU"
} | tee "$OUT/summary.txt"

run_part environment 15 any
run_part build 170 any
run_part sample-native 30 cuda
run_part sample-triton 50 cuda
run_part graphs 45 cuda
run_part bandwidth 15 cuda
run_part benchmark-ops 110 cuda
run_part benchmark-steps 85 cuda
run_part report 20 cuda
run_part memcheck 90 cuda
run_part racecheck 60 cuda
run_part profile 60 cuda
run_part conformance-native 120 cuda
run_part conformance-triton 120 cuda
run_part memcheck-triton 60 cuda
run_part benchmark-all 400 cuda

[ ! -s "$OUT/report.md" ] || sed -n '/^## Summary/,/^!/p' "$OUT/report.md" | sed '1d;$d'
[ $failures -eq 0 ] || printf 'to mend: %s\n' "${mend[@]}" | tee -a "$OUT/summary.txt"
echo "$failures parts failed, $SECONDS s in all" | tee -a "$OUT/summary.txt"
[ "$HAS_CUDA$DRY" = 00 ] || [ $failures -eq 0 ]
