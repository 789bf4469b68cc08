#!/usr/bin/env bash
# The shipped checkpoint, from nothing: bash models/recipes/franka-table-small.sh FOLDER
# About an hour and a quarter, with one CPU core for the training. Call it again to go on after an interruption.
# DECODER_STEPS, EPISODES, HELD_OUT, PRETRAIN_STEPS, TRAIN_STEPS and TRAIN_BATCH make it smaller, to try it.
set -euo pipefail
out=${1:?expected the folder to work in}
jepa=${JEPA:-jepa}

$jepa collect --out "$out/data/train" --episodes "${EPISODES:-2800}" --seed 0 --format npz
$jepa collect --out "$out/data/val" --episodes "${HELD_OUT:-200}" --seed 1000000 --format npz
# bf16 pays where the processor multiplies it (avx512_bf16 in lscpu); it is correct, and slower, elsewhere.
$jepa pretrain --data "$out/data/train" --validation "$out/data/val" --out "$out/encoder" --objective tokens \
  --predictor.depth 3 --predictor.conditioning adaln \
  --tokens.state-weight 2 --tokens.predicted-moments-weight 1 \
  --loop.learning-rate 0.0008 --loop.matrix-rate 0.012 --loop.precision bf16 --loop.steps "${PRETRAIN_STEPS:-3000}"
# The predictor that the encoder learned with goes on, now four steps ahead of its own output.
$jepa train --data "$out/data/train" --validation "$out/data/val" --encoder-run "$out/encoder" \
  --first-predictor "$out/encoder" --latents plain --out "$out/predictor" \
  --checkpoint "$out/franka-table-small.safetensors" \
  --post.error change --post.clip-frames 5 --post.rollout-steps 4 --post.batch "${TRAIN_BATCH:-32}" \
  --scene.weight-m 0.5 --loop.learning-rate 0.0004 --loop.matrix-rate 0.006 --loop.precision bf16 --loop.steps "${TRAIN_STEPS:-1000}"
$jepa train-decoder --model "$out/franka-table-small.safetensors" --data "$out/data/train" --validation "$out/data/val" \
  --out "$out/decoder" --loop.steps "${DECODER_STEPS:-800}"
