#!/usr/bin/env bash
# Pictures of a released model's latents: WEIGHTS=vjepa2-ac-vitg.pt DATA=data/mine bash models/recipes/decoder-official.sh FOLDER
# Needs a graphics card. DEVICE, FRAMES, BATCH and STEPS change what it takes. Call it again to go on after an interruption.
set -euo pipefail
out=${1:?expected the folder to work in}
jepa=${JEPA:-jepa}
weights=${WEIGHTS:-vjepa2-ac-vitg.pt}
checkpoint="$out/$(basename "${weights%.*}").safetensors"

[ -f "$checkpoint" ] || $jepa convert "$weights" "$checkpoint"
$jepa train-decoder --model "$checkpoint" --data "${DATA:-data/train}" --out "$out/decoder" \
  --device "${DEVICE:-cuda}" --loop.precision bf16 --shape.width 512 --shape.depth 4 --shape.heads 8 --shape.channels 96 \
  --frames "${FRAMES:-6000}" --batch "${BATCH:-64}" --loop.steps "${STEPS:-8000}"
