"""The released V-JEPA 2 and 2.1 models: file names and shapes."""

from __future__ import annotations

from dataclasses import dataclass, replace

from jepa_world_model.action_predictor import ActionPredictorConfig
from jepa_world_model.masked_predictor import MaskedPredictorConfig
from jepa_world_model.vision_transformer import EncoderConfig


@dataclass(frozen=True)
class OfficialModel:
    """A released model.

    Attributes:
        file: name of its checkpoint without ``.pt``; the name by which this package knows it.
        encoder: shape of the encoder.
        masked_predictor: shape of the masked predictor in the file (2.0), or None.
        action_predictor: shape of the action-conditioned predictor in the file (2-AC), or None.
    """

    file: str
    encoder: EncoderConfig
    masked_predictor: MaskedPredictorConfig | None = None
    action_predictor: ActionPredictorConfig | None = None


VIT_L = EncoderConfig(embed_dim=1024, depth=24, num_heads=16)
VIT_H = EncoderConfig(embed_dim=1280, depth=32, num_heads=16)
VIT_G = EncoderConfig(embed_dim=1408, depth=40, num_heads=22, mlp_dim=6144)

_SECOND_GENERATION = EncoderConfig(image_size=384, generation="2.1")
VIT_B_2_1 = replace(_SECOND_GENERATION, embed_dim=768, depth=12, num_heads=12, output_layers=(2, 5, 8, 11))
VIT_L_2_1 = replace(_SECOND_GENERATION, embed_dim=1024, depth=24, num_heads=16, output_layers=(5, 11, 17, 23))
VIT_G_2_1 = replace(
    _SECOND_GENERATION, embed_dim=1408, depth=40, num_heads=22, mlp_dim=6144, output_layers=(9, 19, 29, 39)
)
VIT_GIGANTIC_2_1 = replace(
    _SECOND_GENERATION, embed_dim=1664, depth=48, num_heads=26, mlp_dim=8192, output_layers=(11, 23, 37, 47)
)

AC_PREDICTOR = ActionPredictorConfig(normalize_output=True)
"""The predictor of V-JEPA 2-AC; planning normalises each of its predictions."""


def _masked_predictor(encoder: EncoderConfig) -> MaskedPredictorConfig:
    return MaskedPredictorConfig(
        image_size=encoder.image_size, num_frames=encoder.num_frames, embed_dim=encoder.embed_dim
    )


def _first_generation(file: str, encoder: EncoderConfig) -> OfficialModel:
    return OfficialModel(file, encoder, masked_predictor=_masked_predictor(encoder))


OFFICIAL_MODELS: dict[str, OfficialModel] = {
    model.file: model
    for model in (
        _first_generation("vitl", VIT_L),
        _first_generation("vith", VIT_H),
        _first_generation("vitg", VIT_G),
        _first_generation("vitg-384", replace(VIT_G, image_size=384)),
        OfficialModel("vjepa2-ac-vitg", VIT_G, action_predictor=AC_PREDICTOR),
        OfficialModel("vjepa2_1_vitb_dist_vitG_384", VIT_B_2_1),
        OfficialModel("vjepa2_1_vitl_dist_vitG_384", VIT_L_2_1),
        OfficialModel("vjepa2_1_vitg_384", VIT_G_2_1),
        OfficialModel("vjepa2_1_vitG_384", VIT_GIGANTIC_2_1),
    )
}


def official_model(name: str) -> OfficialModel:
    """The released model whose file is ``name`` (with or without ``.pt``).

    Raises:
        ValueError: no such model; lists those that exist.
    """
    model = OFFICIAL_MODELS.get(name.removesuffix(".pt"))
    if model is None:
        raise ValueError(f"no released model {name!r}; expected one of {', '.join(OFFICIAL_MODELS)}")
    return model
