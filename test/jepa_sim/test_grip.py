"""What is gripped firmly stays between the fingers, also where they did not meet it in the middle."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from jepa_sim.environment import TableEnvironment
from jepa_sim.expert import ExpertConfig, ScriptedExpert, Stage
from jepa_sim.scene import CUP

UP, BARELY_UP = np.array([0.0, 0.0, 0.12]), np.array([0.0, 0.0, 0.01])


@pytest.fixture(scope="module")
def environment() -> Iterator[TableEnvironment]:
    with TableEnvironment() as made:
        yield made


def script(environment: TableEnvironment, beside: np.ndarray) -> tuple[Stage, ...]:
    """Grips the cup so far from its axis, lifts it, and lowers it again, with the longest steps of a planner."""
    config = ExpertConfig()
    cup = environment.object_positions()[CUP]
    grip = np.array([*cup[:2], max(cup[2] + config.grasp_height, config.lowest_grasp)]) + beside
    return (
        Stage("hover", lambda _: grip + UP, gripper=-1.0),
        Stage("descended", lambda _: grip),
        Stage("grasped", gripper=1.0),
        Stage("lifted", lambda _: grip + UP, max_step=0.04),
        Stage("lowered", lambda _: grip + BARELY_UP, max_step=0.04),
    )


@pytest.mark.parametrize("beside", [(0.0, 0.0, 0.0), (0.01, 0.0, 0.0), (-0.01, 0.0, 0.0), (0.007, 0.007, 0.0)])
def test_a_cup_that_is_gripped_off_its_axis_is_not_thrown(environment, beside) -> None:
    for seed in range(4):
        environment.reset(seed, "pick_place_cup")
        held = {}
        expert = ScriptedExpert(environment, script(environment, np.array(beside)))
        expert.run(lambda stage, held=held: held.update({stage: environment.simulation.is_held(CUP)}))
        assert held == {"hover": False, "descended": False, "grasped": True, "lifted": True, "lowered": True}
