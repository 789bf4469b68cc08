"""What a plan leads to, as one picture: now, each imagined step, and the goal, side by side."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from jepa_world_model.action_scoring import ChosenPlan
from jepa_world_model.picture_strip import side_by_side
from jepa_world_model.world_model import WorldModel


def imagined_strip(model: WorldModel, plan: ChosenPlan) -> NDArray[np.uint8]:
    """RGB ``[S, (horizon + 2) S, 3]``: squares from left to right, the first one now, the last one the goal.

    All of them are drawn from latents, so that they can be compared: what the latent does not tell is in none.

    Raises:
        CheckpointError: the model has no picture decoder, or no predictor.
    """
    future = model.rollout(plan.context, plan.states, plan.actions)[0].cpu().numpy()
    return side_by_side(model.pictures(np.concatenate([plan.context[-1:], future, plan.goal[None]])))
