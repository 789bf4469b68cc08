"""Names of the tasks; what they ask for is in `jepa_sim.tasks`."""

from __future__ import annotations

from typing import Final, Literal, get_args

TaskName = Literal[
    "reach",
    "grasp_cup",
    "grasp_box",
    "reach_with_object_cup",
    "reach_with_object_box",
    "pick_place_cup",
    "pick_place_box",
]
TASK_NAMES: Final[tuple[TaskName, ...]] = get_args(TaskName)
REACH: Final = "reach"


def check_task(task: str) -> None:
    """Raises ValueError unless `task` is one of `TASK_NAMES`."""
    if task not in TASK_NAMES:
        raise ValueError(f"expected a task of {', '.join(TASK_NAMES)}, got {task!r}")
