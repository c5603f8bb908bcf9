#!/usr/bin/env bash
# The main job from beginning to end, in words that can be typed one by one: `make demo` runs this.
set -euo pipefail
arcformer() { "${PYTHON:-python}" -m arcformer "$@"; }

out=${1:-demo}
arcformer train runs/demo.toml --out "$out/run" --resume

extra=()
samples=${ARCFORMER_SAMPLES:-}
if [ -d "$samples" ]; then
  extra+=(--reference "reference=$samples/deeplense/Model_I")
  extra+=(--show "$samples/lenses" --pixel-scale 0.03)  # of the Hubble files, whose headers do not say
else
  echo "no sample data (ARCFORMER_SAMPLES): the demo goes without reference-made and telescope images" >&2
fi
arcformer evaluate "$out/run" --out "$out" --count 3000 --seed 1000 "${extra[@]}"
