"""Protocols of evaluation by name: how much help the planner gets, written down once.

| protocol         | pictures                                     | gripper              | starts                |
|------------------|----------------------------------------------|----------------------|-----------------------|
| `assisted`       | up to eight sub-goals of the scripted expert | the expert's schedule | anywhere             |
| `published`      | three for pick-and-place, else one           | planned              | near the object       |
| `published-long` | the same                                     | planned              | near the object       |
| `one-goal`       | the last one alone                           | planned              | anywhere              |

`published` follows the V-JEPA 2 paper (section 4.2): pick-and-place gets three pictures, of the object held, near its
place and at its place, for 4, 10 and 4 steps; grasp and reach-with-object get one. The paper names no distances for its
starts and no steps for a grasp; those here are ours. Its planner takes seconds, so that the arm has come to rest at
every picture: here, too.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, get_args

from jepa_planner.gripper import GripperMode
from jepa_sim.expert import ExpertConfig
from jepa_sim.tasks import NearStart, StepBudgets, StepChanges, TaskConfig

ProtocolName = Literal["assisted", "published", "published-long", "one-goal"]
PROTOCOL_NAMES: tuple[ProtocolName, ...] = get_args(ProtocolName)


_NO_CHANGES = StepChanges()


@dataclass(frozen=True)
class Protocol:
    """What the planner is given.

    Attributes:
        name: of the protocol.
        help: what the planner is given beside the last picture, in one sentence.
        steps: budgets of the goals that are shown.
        grasp_steps: the same for tasks that end with the grasp.
        gripper: whether goals bring the expert's commands along.
        near: where a hand begins that is to grasp; None begins anywhere.
        whole_steps: the arm comes to rest after every step, as the paper's do, whose planner takes seconds.
        one_goal: if positive, only the last goal is shown, with so many times the expert's steps.
        align: the expert of the pictures grasps a box by two faces.
        max_yaw: largest planned turn of the hand about the vertical per step, rad.
    """

    name: ProtocolName
    help: str
    steps: StepBudgets
    grasp_steps: StepBudgets
    gripper: GripperMode
    near: NearStart | None = None
    whole_steps: bool = False
    one_goal: float = 0.0
    align: bool = False
    max_yaw: float = 0.0

    def task_config(self, task: str, changes: StepChanges = _NO_CHANGES) -> TaskConfig:
        """How `task` is set, with budgets changed as asked for."""
        steps = self.grasp_steps if task.startswith("grasp") else self.steps
        return TaskConfig(
            steps=replace(steps, **changes.given),
            near=self.near,
            whole_steps=self.whole_steps,
            one_goal=self.one_goal,
            expert=ExpertConfig(align=self.align),
        )


_NO_WAY = dict.fromkeys(("hover", "approached", "descended", "lifted", "lowered"), 0)
_NEAR = NearStart()
_NEAR_TEXT = (
    f"a hand that is to grasp starts {100 * _NEAR.lowest:.0f} to {100 * _NEAR.highest:.0f} cm above its grasp and at "
    f"most {100 * _NEAR.sideways:.0f} cm to the side"
)
_LARGEST_TURN = 0.35


def _published(name: ProtocolName, grasp: int, carry: int, place: int, grasp_alone: int) -> Protocol:
    return Protocol(
        name=name,
        help=f"pick-and-place: three pictures with {grasp}/{carry}/{place} steps; grasp ({grasp_alone} steps) and "
        f"reach with object: one; gripper planned; {_NEAR_TEXT}; "
        "every step is carried out to its end; the judge lifts what was grasped",
        steps=StepBudgets(**_NO_WAY, grasped=grasp, carried=0, nearby=carry, released=place),
        grasp_steps=StepBudgets(**_NO_WAY, grasped=grasp_alone),
        gripper="planned",
        near=_NEAR,
        whole_steps=True,
        align=True,
        max_yaw=_LARGEST_TURN,
    )


PROTOCOLS: dict[ProtocolName, Protocol] = {
    protocol.name: protocol
    for protocol in (
        Protocol(
            name="assisted",
            help="up to eight sub-goal pictures and the gripper's schedule from the scripted expert; starts anywhere",
            steps=StepBudgets(),
            grasp_steps=StepBudgets(),
            gripper="scheduled",
        ),
        _published("published", 4, 10, 4, grasp_alone=8),
        _published("published-long", 12, 12, 8, grasp_alone=12),
        Protocol(
            name="one-goal",
            help="the last picture alone, with twice the steps that the expert needs; gripper planned; starts anywhere",
            steps=StepBudgets(),
            grasp_steps=StepBudgets(),
            gripper="planned",
            one_goal=2.0,
            align=True,
            max_yaw=_LARGEST_TURN,
        ),
    )
}
