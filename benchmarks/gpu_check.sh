#!/usr/bin/env bash
# On a machine with a GPU: what the CPU cannot check, most important first, in at most six minutes.
#
#     benchmarks/gpu_check.sh RESULTS_FOLDER [python]
#
# Each part has a time limit of its own and a log in the folder; summary.txt has their exit codes and times.
set -uo pipefail
results=$(mkdir -p "$1" && cd "$1" && pwd)
python=${2:-python3}
cd "$(dirname "$0")/.."
export PYTHONUNBUFFERED=1 PYTHONPATH="$PWD/src:$PWD${PYTHONPATH:+:$PYTHONPATH}"
{
  nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader 2>&1
  "$python" -c 'import sys, torch; print(f"Python {sys.version.split()[0]}, torch {torch.__version__}")'
} | tee "$results/machine.txt"

part() { # name, seconds, command ...
  local name=$1 seconds=$2 since=$SECONDS
  shift 2
  timeout --kill-after=5 "$seconds" "$@" >"$results/$name.log" 2>&1
  echo "$name: exit code $?, $((SECONDS - since)) of $seconds s" | tee -a "$results/summary.txt"
}

# The tests' own time limit is for a test that waits for ever: its stack is then in the log.
# A recording that fails on purpose leaves torch in a state of its own: that test has a process for itself.
failing=test_a_net_that_cannot_be_recorded_trains_as_if_nobody_had_tried
pytest=("$python" -X faulthandler -m pytest -m gpu -p no:cacheprovider -vv --tb=short -o faulthandler_timeout=60)
part tests "${TESTS_LIMIT:-110}" "${pytest[@]}" tests/data tests/training -n "${TEST_WORKERS:-4}" --durations=10 -k "not $failing"
part failing "${FAILING_LIMIT:-40}" "${pytest[@]}" tests/training/step/test_recording.py -k "$failing"
part step "${STEP_LIMIT:-130}" "$python" -X faulthandler -m benchmarks.step --device cuda --seconds 0.6 --rounds 2 \
  --nets tiny_vgg resnet18 resnet20 speedrun resnet resnet18_512 --compiled tiny_vgg resnet18
if [ -f benchmarks/packing.py ]; then
  part packing "${PACKING_LIMIT:-80}" "$python" -m benchmarks.packing
fi
