#!/usr/bin/env bash
# The shipped checkpoint, from nothing: bash models/recipes/franka-table-small.sh FOLDER
# An hour and a quarter on two CPU cores. Call it again to go on after an interruption.
# DECODER_STEPS, EPISODES, HELD_OUT, PRETRAIN_STEPS, TRAIN_STEPS and TRAIN_BATCH make it smaller, to try it.
set -euo pipefail
out=${1:?expected the folder to work in}
jepa=${JEPA:-jepa}

$jepa collect --out "$out/data/train" --episodes "${EPISODES:-3000}" --seed 0
$jepa collect --out "$out/data/val" --episodes "${HELD_OUT:-100}" --seed 1000000
$jepa pretrain --data "$out/data/train" --out "$out/encoder" --loop.steps "${PRETRAIN_STEPS:-2600}"
$jepa train --data "$out/data/train" --validation "$out/data/val" --encoder-run "$out/encoder" --out "$out/predictor" \
  --checkpoint "$out/franka-table-small.safetensors" \
  --post.batch "${TRAIN_BATCH:-32}" --loop.steps "${TRAIN_STEPS:-1500}"
$jepa train-decoder --model "$out/franka-table-small.safetensors" --data "$out/data/train" --validation "$out/data/val" \
  --out "$out/decoder" --loop.steps "${DECODER_STEPS:-800}"
