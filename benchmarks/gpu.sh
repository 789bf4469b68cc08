#!/usr/bin/env bash
# Every benchmark that needs a graphics card (H200 class): V-JEPA 2-AC with random weights, in bfloat16, as it is and
# compiled by torch.compile ("reduce-overhead" records CUDA graphs).
# SHAPE=small DEVICE=cpu SAMPLES=8 ITERATIONS=1 REPEATS=1 MODES=off OUT=out/gpu tries the script without a card.
set -euo pipefail
cd "$(dirname "$0")/.."
jepa=${JEPA:-jepa}
shape=${SHAPE:-vitg-ac} device=${DEVICE:-cuda} samples=${SAMPLES:-800} iterations=${ITERATIONS:-10}
repeats=${REPEATS:-5} out=${OUT:-benchmarks} modes=${MODES:-off default reduce-overhead}
common="--shape $shape --device $device --dtype bfloat16"

for mode in $modes; do
  $jepa bench encode $common --compile-mode "$mode" --batches 1 --repeats "$((repeats * 4))" \
    --out "$out/gpu_encode_$mode.json"
  for horizon in 1 4; do
    $jepa bench plan $common --compile-mode "$mode" --samples "$samples" --iterations "$iterations" \
      --horizon "$horizon" --repeats "$repeats" --no-published --profile --out "$out/gpu_plan_h${horizon}_$mode.json"
  done
  for candidates in 8 32; do
    $jepa bench plan $common --compile-mode "$mode" --samples "$candidates" --elites 4 --iterations 3 --rate 30 \
      --thorough-samples "$samples" --thorough-iterations "$iterations" --problems 3 --repeats "$repeats" \
      --no-published --out "$out/gpu_rate_30_${candidates}_$mode.json"
  done
done
$jepa bench plan $common --samples "$((samples / 10 + 8))" --iterations 2 --repeats "$repeats" --profile \
  --out "$out/gpu_plan_published.json"
