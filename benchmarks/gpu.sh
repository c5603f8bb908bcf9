#!/usr/bin/env bash
# What a CPU cannot reach, on one GPU: bash benchmarks/gpu.sh STAGE...; results in $OUT, by default gpu-results.
#
#   speed     the simulator, and how much of the GPU a training step uses; whatever else runs here waits for it
#   families  runs/studies/backbones.toml at twice the pixels and thrice the images, several runs at a time
#   labels    runs/studies/label-efficiency.toml, a part of it, several runs at a time
#   together  families and then labels in the background, speed when its code is compiled; within $SECONDS_IN_ALL
#
# What fails or is cut off does not stop the others, and a study keeps the runs that it has finished. The packages that
# are missing are taken from $WHEELS, where it is set.
set -u
OUT=$(realpath -m "${OUT:-gpu-results}")
WORK=${WORK:-$(mktemp -d)}
PYTHON=${PYTHON:-python3}
PROCESSES=${PROCESSES:-9}
SECONDS_IN_ALL=${SECONDS_IN_ALL:-500}
mkdir -p "$OUT"
export PYTHONUNBUFFERED=1 OMP_NUM_THREADS=1

if [ -n "${WHEELS:-}" ]; then
  export PYTHONPATH=$WORK/site
  "$PYTHON" -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --target "$PYTHONPATH" "$WHEELS"/*.whl &&
    "$PYTHON" -m pip install -q --no-index --no-deps --no-build-isolation --no-compile --target "$PYTHONPATH" . || exit
fi

left() { echo $((SECONDS_IN_ALL - SECONDS)); }

# limited SECONDS NAME COMMAND...: its output to a log, and the end of that here
limited() {
  local seconds=$1 name=$2 begin=$SECONDS
  shift 2
  timeout "$seconds" "$@" >"$WORK/$name.log" 2>&1
  echo "== $name: exit $? after $((SECONDS - begin)) s, at $SECONDS s"
  tail -n 22 "$WORK/$name.log" | cut -c1-170
}

simulator() { limited "$1" simulator "$PYTHON" benchmarks/accelerator.py "${@:2}" --json "$OUT/accelerator.json"; }
step() { limited 110 step "$PYTHON" benchmarks/utilisation.py --json "$OUT/utilisation.json"; }

speed() {
  simulator 200 --rounds 1 --batch 64
  pkill -STOP -f "arcformer study .* --out $WORK/" || true
  simulator 60
  step
  pkill -CONT -f "arcformer study .* --out $WORK/" || true
}

# study NAME OVERRIDE...: several processes share its runs. Compiling the simulator takes longer here than it saves.
study() {
  local name=$1 k
  shift
  for k in $(seq "$PROCESSES"); do
    ARCFORMER_EAGER=1 timeout "$(left)" "$PYTHON" -m arcformer study "runs/studies/$name.toml" --out "$WORK/$name" \
      --quiet "$@" >"$WORK/$name-$k.log" 2>&1 &
  done
  wait
  cp "$WORK/$name/results.json" "$OUT/$name.json"
  cut -c1-150 "$WORK/$name/results.csv"
  tail -qn 2 "$WORK/$name"-*.log | cut -c1-200
  (cd "$WORK" && tar czf "$OUT/$name.tgz" --exclude=resume --exclude=model.safetensors "$name" "$name"-*.log)
}

families() {
  study backbones run.data.pixels=128 run.transform.size=64 run.training.steps=1500 run.training.batch_size=128 \
    run.training.evaluate_every=250 run.training.save_every=1500 run.training.precision=bf16
}

labels() {
  local before=() objective
  for objective in mae physics simclr; do
    before+=("before.$objective.training.steps=${PRETRAINING:-1500}" "before.$objective.training.evaluate_every=500")
  done
  study label-efficiency run.training.steps=500 run.training.precision=bf16 "axes.data.labels=[30, 300, 3000]" \
    "axes.seed=[1]" "grid=[]" "${before[@]}"
  (cd "$WORK/label-efficiency/runs" && tar czf "$OUT/pretrained.tgz" -- {mae,physics}-??????????/run/model.safetensors)
}

together() {
  (families; [ "$(left)" -gt 60 ] && labels) >"$WORK/studies.log" 2>&1 &
  local studies=$!
  speed
  wait $studies
  cat "$WORK/studies.log"
}

for stage in "$@"; do "$stage"; done
