"""Tasks by name, this package's and others'; what they ask for is in `jepa_sim.tasks`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

from jepa_common.registry import Registry

if TYPE_CHECKING:
    from jepa_sim.task_base import Task

_WITH_OBJECT = {"grasp": "GraspTask", "reach_with_object": "ReachWithObjectTask", "pick_place": "PickPlaceTask"}
_OBJECTS = ("cup", "box")

REACH: Final = "reach"
TASKS: Registry[type[Task]] = Registry(
    "jepa_ros.tasks",
    "task",
    {REACH: "jepa_sim.reach_task:ReachTask"}
    | {f"{verb}_{name}": f"jepa_sim.object_tasks:{kind}" for verb, kind in _WITH_OBJECT.items() for name in _OBJECTS},
)
"""Classes of tasks; one is made with its name and a `TaskConfig`."""

TASK_NAMES: tuple[str, ...] = TASKS.names()
if TYPE_CHECKING:
    TaskName = str
else:
    # What a command line offers: what is installed when the program starts.
    TaskName = Literal[TASK_NAMES]
