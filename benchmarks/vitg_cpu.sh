#!/usr/bin/env bash
# ViT-g with the V-JEPA 2-AC predictor, random weights, bfloat16, on a CPU: one encode, and 8 candidates of 2 steps.
# Takes minutes; the JSON files hold the largest memory of each process (below 20 GiB).
set -euo pipefail
cd "$(dirname "$0")/.."
jepa=${JEPA:-jepa}

$jepa bench encode --shape vitg-ac --dtype bfloat16 --batches 1 --repeats 1 --out benchmarks/vitg_cpu_encode.json
$jepa bench plan --shape vitg-ac --dtype bfloat16 --samples 8 --elites 2 --iterations 1 --horizon 2 --repeats 1 \
  --no-published --out benchmarks/vitg_cpu_plan.json
