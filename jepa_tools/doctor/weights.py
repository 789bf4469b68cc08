"""Whether checkpoints are what they were when they were made."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jepa_tools.doctor.finding import Finding, ok, problem, unknown, warning

if TYPE_CHECKING:
    from jepa_world_model.checkpoint_header import CheckpointHeader

INDEX = "index.json"
_CHUNK_BYTES = 1 << 20
# A file this short that should hold weights holds the address of some.
_POINTER_BYTES = 1024


def stored_weights(folder: Path) -> Iterator[Finding]:
    """Compares every checkpoint in ``folder`` with the SHA-256 in the index beside it."""
    index_path = folder / INDEX
    try:
        index = json.loads(index_path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        yield problem("weights", f"there is no {index_path}", "restore it: git checkout models, or install again")
        return
    except json.JSONDecodeError as error:
        yield problem("weights", f"{index_path} is damaged: {error}", "restore it: git checkout models")
        return
    for name, entry in sorted(index.items()):
        yield _stored(folder / name, entry)
    for path in sorted(folder.glob("*.safetensors")):
        if path.name not in index:
            yield warning(path.name, "not in the index, so its origin is unknown", f"remove it, or note it in {INDEX}")


def _stored(path: Path, entry: Mapping[str, Any]) -> Finding:
    restore = "restore it: git checkout models, or install again"
    if not path.is_file():
        return problem(path.name, f"in the index, but there is no {path}", restore)
    if path.stat().st_size < _POINTER_BYTES:
        return problem(path.name, f"only {path.stat().st_size} bytes long: a pointer, or an interrupted copy", restore)
    digest, expected = _sha256(path), str(entry.get("sha256", ""))
    if digest != expected:
        return problem(path.name, f"SHA-256 {digest[:12]}..., the index says {expected[:12]}...", restore)
    return ok(path.name, f"SHA-256 {digest[:12]}..., as in the index")


def model_loads(model: str) -> Iterator[Finding]:
    """Whether the checkpoint that the nodes are to use opens, and what it is."""
    if importlib.util.find_spec("cv2") is None:
        yield unknown("model", "OpenCV is not installed", "pip install opencv-python-headless")
        return
    from jepa_world_model.checkpoint_errors import CheckpointError
    from jepa_world_model.checkpoint_header import open_header

    try:
        header = open_header(model)
    except (CheckpointError, OSError, ValueError) as error:
        yield problem("model", str(error), "name another with --model, or restore the file")
        return
    card = header.card
    yield ok(
        "model",
        f"{card.model_id}: {card.image_size} px, latents {card.tokens} x {card.dim}, {card.control_rate_hz:g} Hz",
    )
    yield _pictures(header)
    if card.reach_energy is None:
        yield warning("model", "no energy calibrated at which a goal counts as reached", "set goal.tolerance by hand")


def _pictures(header: CheckpointHeader) -> Finding:
    """Whether the checkpoint can show its latents, and how well."""
    from jepa_world_model.checkpoint_header import from_values
    from jepa_world_model.picture_decoder_config import PictureDecoderConfig

    values = json.loads(header.texts.get("decoder", "null"))
    if values is None:
        return ok("pictures", "no picture decoder, so imagined futures cannot be shown; `jepa train-decoder` adds one")
    decoder = from_values(PictureDecoderConfig, values, header.path)
    drawn = json.loads(header.texts.get("decoder_provenance", "{}")).get("held_out", {})
    figures = f": PSNR {drawn['psnr_db']:.1f} dB, SSIM {drawn['ssim']:.2f} on held-out frames" if drawn else ""
    return ok("pictures", f"shows its latents as pictures of {decoder.picture_size} px{figures}")


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
