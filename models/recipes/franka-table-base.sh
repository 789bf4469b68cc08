#!/usr/bin/env bash
# A larger model of the simulated table, for one graphics card: bash models/recipes/franka-table-base.sh FOLDER
# It has not run on one yet. DEVICE=cpu and small EPISODES, HELD_OUT, PRETRAIN_STEPS, PRETRAIN_BATCH, TRAIN_STEPS and
# TRAIN_BATCH try it without. Call it again to go on after an interruption.
set -euo pipefail
out=${1:?expected the folder to work in}
jepa=${JEPA:-jepa} device=${DEVICE:-cuda}

$jepa collect --out "$out/data/train" --episodes "${EPISODES:-12000}" --seed 0
$jepa collect --out "$out/data/val" --episodes "${HELD_OUT:-200}" --seed 1000000
$jepa pretrain --data "$out/data/train" --validation "$out/data/val" --out "$out/encoder" --device "$device" \
  --encoder.depth 7 --batch "${PRETRAIN_BATCH:-128}" \
  --loop.precision bf16 --loop.prefetch 8 --loop.steps "${PRETRAIN_STEPS:-12000}"
$jepa train --data "$out/data/train" --validation "$out/data/val" --encoder-run "$out/encoder" --out "$out/predictor" \
  --checkpoint "$out/franka-table-base.safetensors" --device "$device" \
  --predictor.depth 6 --post.batch "${TRAIN_BATCH:-128}" \
  --loop.precision bf16 --loop.prefetch 8 --loop.steps "${TRAIN_STEPS:-8000}"
