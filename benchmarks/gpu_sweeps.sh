#!/usr/bin/env bash
# On a machine with a GPU and CIFAR-10: what a sweep takes there, most important first, in at most five minutes.
#
#     CIFARLAB_DATA=FOLDER benchmarks/gpu_sweeps.sh RESULTS_FOLDER [python]
#
# The 27 cells of R5.4 (limit=10000 epochs=2, batches of 32), three of them eager as a yardstick; ten seeds of tiny VGG,
# whose first says what one takes; the speed run. Each part has a time limit and a log; summary.txt has seconds, records.tar.gz each run's record.
set -uo pipefail
results=$(mkdir -p "$1" && cd "$1" && pwd)
python=${2:-python3}
project=$(cd "$(dirname "$0")/.." && pwd)
export PYTHONUNBUFFERED=1 PYTHONPATH="$project/src${PYTHONPATH:+:$PYTHONPATH}"
export CIFARLAB_DATA=${CIFARLAB_DATA:?names the folder with CIFAR-10}
work=$(mktemp -d)
cd "$work"

part() { # name, seconds, arguments of train.py ...
  local name=$1 seconds=$2 since=$(date +%s%N)
  shift 2
  timeout --signal=TERM --kill-after=5 "$seconds" "$python" "$project/train.py" "$@" >"$results/$name.log" 2>&1
  local code=$?
  echo "$name: exit code $code, $((($(date +%s%N) - since) / 1000000)) ms of $seconds s" | tee -a "$results/summary.txt"
}

limit=${LIMIT:-10000}
grid=(-m experiment=grid_elastic_dropout data=cifar10 "limit=$limit" epochs=2 "figures=[]" trainer.progress_bar=false)
shared=(hydra/launcher=local "hydra.launcher.jobs_per_gpu=${JOBS:-4}")
part pack 30 data=cifar10 model=tiny_vgg limit=500 epochs=1 "figures=[]" trainer.progress_bar=false  # packs the data
part basic_27 "${BASIC_LIMIT:-60}" "${grid[@]}" sweep=basic
part seeds_10 "${SEEDS_LIMIT:-60}" -m experiment=tiny_vgg epochs=8 "seed=range(10)" sweep=ten "figures=[]"
part eager_3 "${EAGER_LIMIT:-45}" "${grid[@]}" sweep=eager alpha=0.2 dropout=0.1 trainer.record=false
part local_27 "${LOCAL_LIMIT:-70}" "${grid[@]}" sweep=local "${shared[@]}"
part speedrun "${SPEEDRUN_LIMIT:-40}" -m experiment=speedrun_cpu94 batch_size=2000 seed=0,1,2 sweep=fast trainer.progress_bar=false "figures=[]"
tar czf "$results/records.tar.gz" --exclude=checkpoints --exclude=tensorboard --exclude=.locks --exclude=summary multirun
rm -rf "$work"
