"""The action-conditioned predictor of a training run: its shape, its first weights, and the files it leaves behind."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from jepa_common.whole_files import write_whole
from jepa_world_model.action_predictor import ActionConditionedPredictor, ActionPredictorConfig, Conditioning
from jepa_world_model.data.episodes import EpisodeArrays
from jepa_world_model.encoders import EncoderDescription
from jepa_world_model.training.run_folder import save_tensors

WEIGHTS_FILE = "predictor.pt"
SHAPE_FILE = "predictor.json"


@dataclass(frozen=True)
class PredictorShape:
    """Size of the action-conditioned predictor.

    Attributes:
        dim, depth, heads: width, blocks, attention heads.
        conditioning: "tokens" puts an action and a state token before each step's patches, as the released model does;
            "adaln" modulates every norm.
        use_state: whether the predictor sees the robot's state. Without it, it goes by the pictures alone, and a camera
            that is turned against the robot's axes contradicts nothing.
    """

    dim: int = 128
    depth: int = 4
    heads: int = 4
    conditioning: Conditioning = "tokens"
    use_state: bool = True


def predictor_config(shape: PredictorShape, encoder: EncoderDescription) -> ActionPredictorConfig:
    """The official predictor class's configuration for our size: residual output."""
    return ActionPredictorConfig(
        image_size=encoder.image_size,
        patch_size=encoder.patch_size,
        embed_dim=encoder.embed_dim,
        predictor_dim=shape.dim,
        depth=shape.depth,
        num_heads=shape.heads,
        conditioning=shape.conditioning,
        residual_output=True,
        normalize_output=False,
    )


def predictor_for_data(
    shape: PredictorShape, encoder: EncoderDescription, episodes: EpisodeArrays
) -> ActionConditionedPredictor:
    """A predictor whose action and state embeddings start at the data's scale (raw actions are a few centimetres)."""
    predictor = ActionConditionedPredictor(predictor_config(shape, encoder))
    with torch.no_grad():
        for layer, values in ((predictor.action_encoder, episodes.actions), (predictor.state_encoder, episodes.states)):
            rows = torch.from_numpy(values).reshape(-1, values.shape[-1])
            layer.weight.normal_(std=0.3).div_(rows.std(dim=0).clamp(min=1e-2))
            layer.bias.copy_(-layer.weight @ rows.mean(dim=0))
    return trained_parts(predictor, shape)


def trained_parts(predictor: ActionConditionedPredictor, shape: PredictorShape) -> ActionConditionedPredictor:
    """Freezes what has no influence on the output: several processes would wait for its gradient."""
    if not shape.use_state:
        with torch.no_grad():
            predictor.state_encoder.weight.zero_()
        predictor.state_encoder.weight.requires_grad_(False)
    if predictor.config.conditioning == "tokens":
        predictor.extrinsics_encoder.requires_grad_(False)
    return predictor


def save_run_predictor(folder: Path, predictor: ActionConditionedPredictor) -> None:
    """Write the weights, and the shape beside them."""
    write_whole(folder / SHAPE_FILE, json.dumps(asdict(predictor.config), indent=1) + "\n")
    save_tensors(folder / WEIGHTS_FILE, predictor.state_dict())


def predictor_files(folder: Path) -> list[Path]:
    """The files from which :func:`load_run_predictor` reads; none where no run left a predictor."""
    files = [folder / SHAPE_FILE, folder / WEIGHTS_FILE]
    return files if all(file.exists() for file in files) else []


def load_run_predictor(folder: Path) -> ActionConditionedPredictor:
    """The predictor that a finished run left in ``folder``; raises FileNotFoundError where it left none."""
    config = ActionPredictorConfig(**json.loads((folder / SHAPE_FILE).read_text()))
    predictor = ActionConditionedPredictor(config)
    predictor.load_state_dict(torch.load(folder / WEIGHTS_FILE, map_location="cpu", weights_only=True))
    return predictor
