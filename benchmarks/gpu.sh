#!/usr/bin/env bash
# Every benchmark that needs a graphics card (H200 class): V-JEPA 2-AC with random weights, in bfloat16.
# SHAPE=small DEVICE=cpu SAMPLES=8 ITERATIONS=1 REPEATS=1 tries the script itself on a machine without one.
set -euo pipefail
cd "$(dirname "$0")/.."
jepa=${JEPA:-jepa}
shape=${SHAPE:-vitg-ac} device=${DEVICE:-cuda} samples=${SAMPLES:-800} iterations=${ITERATIONS:-10}
repeats=${REPEATS:-5} out=${OUT:-benchmarks}

for horizon in 1 4; do
  $jepa bench plan --shape "$shape" --device "$device" --dtype bfloat16 --samples "$samples" --iterations "$iterations" \
    --horizon "$horizon" --repeats "$repeats" --no-published --out "$out/gpu_plan_h$horizon.json"
done
$jepa bench plan --shape "$shape" --device "$device" --dtype bfloat16 --samples "$((samples / 10 + 8))" \
  --iterations 2 --repeats "$repeats" --out "$out/gpu_plan_published.json"
$jepa bench plan --shape "$shape" --device "$device" --dtype bfloat16 --samples 32 --iterations 3 --rate 30 \
  --thorough-samples "$samples" --thorough-iterations "$iterations" --problems 3 --repeats "$repeats" --no-published \
  --out "$out/gpu_rate_30.json"
$jepa bench encode --shape "$shape" --device "$device" --dtype bfloat16 --batches 1 --repeats "$((repeats * 4))" \
  --out "$out/gpu_encode.json"
