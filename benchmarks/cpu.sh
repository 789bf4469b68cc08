#!/usr/bin/env bash
# Every CPU benchmark of this folder. On two idle cores it takes about a quarter of an hour.
set -euo pipefail
cd "$(dirname "$0")/.."
jepa=${JEPA:-jepa}
threads=${THREADS:-2} out=${OUT:-benchmarks}

$jepa bench plan --threads "$threads" --repeats 15 --profile --out "$out/plan_small.json"
$jepa bench plan --model franka-table-small --samples 16 --iterations 3 --threads "$threads" --rate 30 \
  --out "$out/plan_rate_30.json"
for horizon in 1 4; do
  for dtype in float32 bfloat16; do
    $jepa bench plan --shape middle --samples 16 --iterations 2 --horizon "$horizon" --dtype "$dtype" \
      --threads "$threads" --repeats 5 --profile --out "$out/plan_middle_h${horizon}_${dtype}.json"
  done
done
$jepa bench encode --threads "$threads" --out "$out/encode_small.json"
$jepa bench encode --shape middle --batches 1 --threads "$threads" --out "$out/encode_middle.json"
$jepa bench node --out "$out/node.json"
$jepa bench train --batch 4 --steps 30 --threads "$threads" --out "$out/train.json"
