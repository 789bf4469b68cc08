"""World models on disk: one safetensors file with configuration, card and provenance as JSON in its header.

Tensors are named ``encoder.*`` and ``predictor.*`` (either may be absent), and ``latent_mean`` and ``latent_std``
``[tokens, dim]`` where latents are standardised. An ``index.json`` beside the files holds their SHA-256.

A picture decoder (``decoder.*``) may stand at the end of a file. It shows latents to people and takes no part in
encoding or planning, so the version of a model is the SHA-256 of the tensors before it: a model with a decoder is the
same ``name@version`` as without, and its latents go on to be accepted.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from jepa_common.whole_files import write_whole
from jepa_world_model.action_predictor import ActionConditionedPredictor, ActionPredictorConfig
from jepa_world_model.checkpoint_errors import CheckpointError
from jepa_world_model.checkpoint_header import DECODER_PREFIX, FORMAT, VERSION_DIGITS, from_values, open_header
from jepa_world_model.encoders import Encoder, EncoderDescription, encoder_kind
from jepa_world_model.model_card import ModelCard
from jepa_world_model.picture_decoder import PictureDecoder, PictureDecoderConfig
from jepa_world_model.safetensors_file import TensorSlot, stored_slots, write_tensors
from jepa_world_model.safetensors_header import digests, read_metadata

_FIRST_KIND = "vjepa"
"""The kind of encoder in files that name none."""

PARTS = ("encoder", "predictor")
DECODER = DECODER_PREFIX.removesuffix(".")
"""The part that shows latents as pictures; loaded only where it is asked for."""

_STATISTICS = ("latent_mean", "latent_std")
_METRIC = "energy_metric"

Network = TypeVar("Network", bound=nn.Module)


@dataclass(frozen=True)
class WorldModelFile:
    """What the header of a checkpoint says; the weights are read when a part is loaded.

    Attributes:
        path: of the file.
        card: the model's.
        encoder_config, predictor_config, decoder_config: shapes of the parts; None where the file lacks one.
        provenance: how the weights came to be.
        decoder_provenance: the same of the picture decoder, with what it measured on held-out frames.
    """

    path: Path
    card: ModelCard
    encoder_config: EncoderDescription | None
    predictor_config: ActionPredictorConfig | None
    provenance: dict[str, Any]
    decoder_config: PictureDecoderConfig | None = None
    decoder_provenance: dict[str, Any] = field(default_factory=dict)


def save_world_model(
    path: Path,
    encoder: Encoder | None,
    predictor: ActionConditionedPredictor | None,
    card: ModelCard,
    provenance: Mapping[str, Any],
    latent_mean: Tensor | None = None,
    latent_std: Tensor | None = None,
    metric: Tensor | None = None,
) -> ModelCard:
    """Write ``path`` and its entry in the index beside it.

    Args:
        path: the ``.safetensors`` file to write.
        encoder: the encoder, or None to leave it out.
        predictor: the predictor, or None to leave it out.
        card: description; its version is set from the weights.
        provenance: how the weights came to be: seeds, steps, commit, metrics (JSON values).
        latent_mean: mean ``[tokens, dim]`` of latents, when the predictor works on standardised ones.
        latent_std: their standard deviation, the same shape.
        metric: linear map ``[K, tokens * dim]`` of the distance "metric".

    Returns:
        The card with its version.

    Raises:
        CheckpointError: nothing to save, or weights that are not finite.
    """
    tensors = _named_tensors(encoder, predictor, latent_mean, latent_std)
    if metric is not None:
        tensors[_METRIC] = metric.contiguous()
    check_finite(tensors)
    slots = {name: TensorSlot.of(tensor) for name, tensor in tensors.items()}
    encoder_config = None if encoder is None else encoder.config
    predictor_config = None if predictor is None else predictor.config
    return write_world_model(path, slots, encoder_config, predictor_config, card, provenance)


def write_world_model(
    path: Path,
    slots: Mapping[str, TensorSlot],
    encoder_config: EncoderDescription | None,
    predictor_config: ActionPredictorConfig | None,
    card: ModelCard,
    provenance: Mapping[str, Any],
) -> ModelCard:
    """:func:`save_world_model` for tensors that are produced one after another."""
    if encoder_config is None and predictor_config is None:
        raise CheckpointError("a checkpoint needs an encoder or a predictor, and got neither")
    header = {
        "format": FORMAT,
        "card": json.dumps(asdict(replace(card, version=""))),
        "encoder": json.dumps(encoder_config and _encoder_values(encoder_config)),
        "predictor": json.dumps(predictor_config and asdict(predictor_config)),
        "provenance": json.dumps(dict(provenance), default=str),
    }
    return _write(Path(path), slots, header, card)


def add_decoder(
    source: WorldModelFile, target: Path, decoder: PictureDecoder, provenance: Mapping[str, Any]
) -> ModelCard:
    """Write ``source`` with a picture decoder, in place of one that it may hold; all else keeps its bytes.

    Args:
        source: the opened checkpoint.
        target: the ``.safetensors`` to write; may be the source.
        decoder: for latents of this model.
        provenance: how it was trained, and what it measured on held-out frames (JSON values).

    Returns:
        The card, whose version is that of ``source``.

    Raises:
        CheckpointError: a decoder for other latents, or weights that are not finite.
    """
    shape, card = decoder.config, source.card
    if (shape.tokens, shape.dim) != (card.tokens, card.dim):
        raise CheckpointError(
            f"{card.name} has latents {card.tokens} x {card.dim}, the decoder takes {shape.tokens} x {shape.dim}"
        )
    tensors = {f"{DECODER_PREFIX}{name}": tensor for name, tensor in decoder.state_dict().items()}
    check_finite(tensors)
    kept = {name: slot for name, slot in stored_slots(source.path).items() if not name.startswith(DECODER_PREFIX)}
    header = read_metadata(source.path) | {
        "decoder": json.dumps(asdict(shape)),
        "decoder_provenance": json.dumps(dict(provenance), default=str),
    }
    slots = kept | {name: TensorSlot.of(tensor.contiguous()) for name, tensor in tensors.items()}
    return _write(Path(target), slots, header, card)


def _write(path: Path, slots: Mapping[str, TensorSlot], header: Mapping[str, str], card: ModelCard) -> ModelCard:
    write_tensors(path, slots, header)
    file_digest, weights_digest = digests(path, DECODER_PREFIX)
    card = replace(card, version=weights_digest[:VERSION_DIGITS])
    _update_index(path, {"name": card.name, "version": card.version, "sha256": file_digest})
    return card


def _encoder_values(config: EncoderDescription) -> dict[str, Any]:
    """A description with its kind, which V-JEPA's leaves out: its files are those of before there were kinds."""
    values: dict[str, Any] = asdict(config)  # type: ignore[call-overload] # a dataclass, by its kind's promise
    return values if config.kind == _FIRST_KIND else {"kind": config.kind, **values}


def _encoder_description(text: str, path: Path) -> EncoderDescription | None:
    values = json.loads(text)
    if values is None:
        return None
    kind = encoder_kind(values.pop("kind", _FIRST_KIND))
    description: EncoderDescription = from_values(kind.config, values, path)
    return description


def _named_tensors(
    encoder: nn.Module | None, predictor: nn.Module | None, mean: Tensor | None, std: Tensor | None
) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    for part, module in zip(PARTS, (encoder, predictor), strict=True):
        if module is not None:
            tensors |= {f"{part}.{name}": tensor for name, tensor in module.state_dict().items()}
    statistics = zip(_STATISTICS, (mean, std), strict=True)
    return tensors | {name: tensor for name, tensor in statistics if tensor is not None}


def check_finite(tensors: Mapping[str, Tensor]) -> None:
    """Refuse weights with NaN or infinity.

    Raises:
        CheckpointError: names the tensors.
    """
    broken = [name for name, tensor in tensors.items() if not bool(torch.isfinite(tensor).all())]
    if broken:
        raise CheckpointError(
            f"{len(broken)} tensors hold NaN or infinity, the first is {broken[0]};"
            " the training diverged or the file is damaged, use an earlier checkpoint"
        )


def _update_index(path: Path, entry: dict[str, str]) -> None:
    index_path = path.parent / "index.json"
    index = json.loads(index_path.read_text()) if index_path.exists() else {}
    index[path.name] = entry
    write_whole(index_path, json.dumps(index, indent=2, sort_keys=True) + "\n")


def open_world_model(path_or_name: str | Path) -> WorldModelFile:
    """Read the header of a checkpoint and check the file against the index beside it.

    Raises:
        CheckpointError: not found, truncated, not ours, or changed since it was written.
    """
    header = open_header(path_or_name)
    predictor, decoder = (json.loads(header.texts.get(part, "null")) for part in ("predictor", DECODER))
    return WorldModelFile(
        header.path,
        header.card,
        _encoder_description(header.texts["encoder"], header.path),
        None if predictor is None else from_values(ActionPredictorConfig, predictor, header.path),
        json.loads(header.texts["provenance"]),
        None if decoder is None else from_values(PictureDecoderConfig, decoder, header.path),
        json.loads(header.texts.get("decoder_provenance", "{}")),
    )


def load_weights(module: nn.Module, tensors: Mapping[str, Tensor], source: str) -> None:
    """Put ``tensors`` into ``module`` (built on the meta device) without a second copy.

    Raises:
        CheckpointError: missing, unexpected or misshapen tensors, or values that are not finite.
    """
    expected = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    problems = _mismatches(expected, {name: tuple(tensor.shape) for name, tensor in tensors.items()})
    if problems:
        shown = "; ".join(problems[:6])
        raise CheckpointError(f"{source} does not fit the configured shape ({len(problems)} differences): {shown}")
    check_finite(tensors)
    module.load_state_dict(dict(tensors), assign=True)


def _mismatches(expected: Mapping[str, tuple[int, ...]], got: Mapping[str, tuple[int, ...]]) -> list[str]:
    missing = [f"{name} is missing" for name in expected if name not in got]
    unexpected = [f"{name} is unexpected" for name in got if name not in expected]
    misshapen = [
        f"{name} is {list(got[name])} where {list(shape)} belongs"
        for name, shape in expected.items()
        if name in got and got[name] != shape
    ]
    return missing + unexpected + misshapen


def load_encoder_of(file: WorldModelFile, device: torch.device, dtype: torch.dtype) -> Encoder | None:
    """The encoder of an opened checkpoint, frozen; None when it holds none."""
    if file.encoder_config is None:
        return None
    encoder = encoder_kind(file.encoder_config.kind).build(file.encoder_config)
    return _filled(encoder, file, "encoder", device, dtype)


def load_predictor_of(
    file: WorldModelFile, device: torch.device, dtype: torch.dtype
) -> ActionConditionedPredictor | None:
    """The predictor of an opened checkpoint, frozen; None when it holds none."""
    if file.predictor_config is None:
        return None
    with torch.device("meta"):
        predictor = ActionConditionedPredictor(file.predictor_config)
    return _filled(predictor, file, "predictor", device, dtype)


def load_decoder_of(file: WorldModelFile, device: torch.device) -> PictureDecoder | None:
    """The picture decoder of an opened checkpoint, frozen, float32; None when it holds none."""
    if file.decoder_config is None:
        return None
    with torch.device("meta"):
        decoder = PictureDecoder(file.decoder_config)
    return _filled(decoder, file, DECODER, device, torch.float32)


def _filled(module: Network, file: WorldModelFile, part: str, device: torch.device, dtype: torch.dtype) -> Network:
    load_weights(module, _read(file.path, f"{part}.", device, dtype), f"{part} of {file.path}")
    # What is in no file, such as tables of positions, moves along.
    return module.to(device, dtype).eval().requires_grad_(False)


def load_statistics(file: WorldModelFile, device: torch.device) -> tuple[Tensor, Tensor] | None:
    """Mean and standard deviation ``[tokens, dim]``, float32, of the latents; None when they are not standardised."""
    found = _read(file.path, "latent_", device, torch.float32)
    if not found:
        return None
    check_finite(found)
    return found["mean"], found["std"]


def load_metric(file: WorldModelFile, device: torch.device) -> Tensor | None:
    """The linear map ``[K, tokens * dim]``, float32, of the distance "metric"; None when the file holds none."""
    found = _read(file.path, _METRIC, device, torch.float32)
    check_finite(found)
    return found.get("")


def _read(path: Path, prefix: str, device: torch.device, dtype: torch.dtype) -> dict[str, Tensor]:
    try:
        with safe_open(path, framework="pt", device=str(device)) as file:
            names = [name for name in file.keys() if name.startswith(prefix)]  # noqa: SIM118 - not a mapping
            return {name.removeprefix(prefix): as_dtype(file.get_tensor(name), dtype) for name in names}
    except SafetensorError as error:
        raise CheckpointError(f"{path} cannot be read as safetensors: {error}; copy or convert it again") from error


def as_dtype(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """A tensor in a network's precision; what counts, as steps of a batch norm, stays whole numbers."""
    return tensor.to(dtype) if tensor.is_floating_point() else tensor
