#!/usr/bin/env bash
# What a CPU cannot reach, on one GPU: bash benchmarks/gpu.sh STAGE...; results under $OUT, by default gpu-results.
#
#   check      images of a GPU against those of a CPU, compiled and not; a short training run
#   simulator  images a second of the simulator
#   step       what a training step takes of the GPU
#   leaks      the leak audit of all presets, 5,000 images a class
#   bound      the information bound of all presets
#   families   runs/studies/backbones.toml, several runs at a time
#
# Each stage has a time limit, and what fails does not stop the others. Packages are taken from $WHEELS, where it is set.
set -u
OUT=${OUT:-gpu-results}
PYTHON=${PYTHON:-python3}
mkdir -p "$OUT"
export PYTHONPATH=${PYTHONPATH:-} PYTHONUNBUFFERED=1

if [ -n "${WHEELS:-}" ]; then
  site=$(mktemp -d)
  "$PYTHON" -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --target "$site" "$WHEELS"/*.whl || exit
  "$PYTHON" -m pip install -q --no-index --no-deps --no-build-isolation --no-compile --target "$site" . || exit
  export PYTHONPATH=$site
fi

# limited SECONDS NAME COMMAND...: its output to $OUT/NAME.log, the end of it here
limited() {
  local seconds=$1 name=$2 begin=$SECONDS
  shift 2
  timeout "$seconds" "$@" >"$OUT/$name.log" 2>&1
  local code=$?
  echo "== $name: exit $code after $((SECONDS - begin)) s"
  tail -n "${LINES_SHOWN:-25}" "$OUT/$name.log" | cut -c1-200
}

check() {
  limited 150 check "$PYTHON" benchmarks/gpu_check.py
  limited 100 train "$PYTHON" -m arcformer train runs/demo.toml --out "$OUT/train" data.pixels=128 transform.size=64 \
    backbone.size=small backbone.patch=4 training.precision=bf16 training.batch_size=256 training.steps=60 \
    training.evaluate_every=60 data.validation=1024
  "$PYTHON" -c "import json, sys; print({k: v for k, v in json.load(open(sys.argv[1])).items() if k in ('training', 'best')})" \
    "$OUT/train/metrics.json"
  rm -rf "$OUT/train"
}

simulator() { limited 240 simulator "$PYTHON" benchmarks/simulate.py --device cuda --batch 2048 --rounds 5 --json "$OUT/simulate.json"; }

step() { limited 150 step "$PYTHON" benchmarks/models.py --device cuda --utilisation --json "$OUT/step.json"; }

leaks() {
  for preset in deeplense/model-{1,2,3,4} deeplense/binary corrected/model-{1,1-deep,2,3,4}; do
    name=leaks-${preset//\//-}
    OMP_NUM_THREADS=1 limited 500 "$name" "$PYTHON" benchmarks/leaks.py --presets "$preset" --device "${DEVICE:-cuda}" --json "$OUT/$name.json" &
  done
  wait
}

bound() {
  for preset in deeplense/model-{1,4} deeplense/binary corrected/model-{1,1-deep,2,3,4}; do
    name=bound-${preset//\//-}
    OMP_NUM_THREADS=1 limited 500 "$name" "$PYTHON" benchmarks/bound.py --presets "$preset" --json "$OUT/$name.json" &
  done
  wait
}

families() {
  for k in 1 2 3 4 5 6 7; do
    limited 480 "families-$k" "$PYTHON" -m arcformer study runs/studies/backbones.toml --out "$OUT/families" &
  done
  wait
}

for stage in "$@"; do "$stage"; done
