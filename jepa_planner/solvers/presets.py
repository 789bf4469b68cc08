"""Ways of searching for plans by name: what a model's card asks for, and what parameters change singly."""

from __future__ import annotations

from dataclasses import dataclass

from jepa_planner.solvers.factory import SolverConfig
from jepa_world_model.model_card import SolverPreset


@dataclass(frozen=True)
class PlannerPreset:
    """A search, and how a planner uses it.

    solver: the search; a ``max_step`` of 0 is the model card's.
    plan_seconds: time for one plan, s; 0: as long as it takes.
    warm_start: a plan begins at the last one, shifted by a step; otherwise each begins at rest.
    direct_gripper: where nobody else moves the gripper, it is sent what the plan says.
    """

    solver: SolverConfig
    plan_seconds: float = 0.0
    warm_start: bool = False
    direct_gripper: bool = True


def _published(samples: int, horizon: int, max_step: float, momentum: float) -> PlannerPreset:
    """The planner of V-JEPA 2-AC (section 3.2 and the released code).

    Every axis is clipped on its own, the spread is torch's, all candidates are drawn; the gripper is clipped to 0.75
    and zeroed below 0.25.
    """
    return PlannerPreset(
        SolverConfig(
            samples=samples,
            iterations=10,
            horizon=horizon,
            elites=10,
            momentum_mean=momentum,
            momentum_std=momentum,
            momentum_mean_gripper=momentum,
            momentum_std_gripper=momentum,
            sample_std=True,
            guided=False,
            max_step=max_step,
            step_clip="axes",
            max_gripper=0.75,
            gripper_std=1.0,
            gripper_dead_zone=0.25,
        )
    )


PRESETS: dict[SolverPreset, PlannerPreset] = {
    "table": PlannerPreset(SolverConfig(max_step=0.0), plan_seconds=0.18, warm_start=True, direct_gripper=False),
    "vjepa2_ac_paper": _published(samples=800, horizon=1, max_step=0.075, momentum=0.0),
    "vjepa2_ac_wrapper": _published(samples=400, horizon=2, max_step=0.05, momentum=0.15),
}
