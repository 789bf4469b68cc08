#!/usr/bin/env bash
# A model for a camera that was turned around the table, from the shipped one: bash models/recipes/franka-table-views.sh FOLDER
# An hour on two CPU cores. Call it again to go on after an interruption.
# EPISODES, HELD_OUT, PRETRAIN_STEPS, TRAIN_STEPS and TRAIN_BATCH make it smaller, to try it.
set -euo pipefail
out=${1:?expected the folder to work in}
jepa=${JEPA:-jepa}
turned=(--randomization.camera-turn-deg 60 --randomization.camera-turn-share 0.7)

$jepa collect --out "$out/data/train" --episodes "${EPISODES:-3000}" --seed 2000000 "${turned[@]}"
$jepa collect --out "$out/data/val" --episodes "${HELD_OUT:-100}" --seed 3000000 "${turned[@]}"
$jepa pretrain --data "$out/data/train" --out "$out/encoder" --initial franka-table-small \
  --loop.steps "${PRETRAIN_STEPS:-1800}"
# States are told in axes that turn along with the camera; the robot's own would contradict them.
$jepa train --data "$out/data/train" --validation "$out/data/val" --encoder-run "$out/encoder" --out "$out/predictor" \
  --checkpoint "$out/franka-table-views.safetensors" --predictor.no-use-state \
  --post.batch "${TRAIN_BATCH:-32}" --loop.steps "${TRAIN_STEPS:-1500}"
