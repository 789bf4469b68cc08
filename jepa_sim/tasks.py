"""The tasks on the table: where they begin, the pictures of their goals, and what counts as success.

| task                  | success                                                                       |
|-----------------------|-------------------------------------------------------------------------------|
| `reach`               | the tool is within 4 cm of the goal's                                         |
| `grasp_*`             | the object is lifted by at least 5 cm and held for 1 s                        |
| `reach_with_object_*` | the object is within 5 cm of the goal's, still held                           |
| `pick_place_*`        | the object is within 5 cm of the goal's, released, at rest                    |

Goals are pictures of what a scripted expert reached in the same scene, which is then put back. What is commanded to
the gripper on the way to each is the expert's, too.
"""

from __future__ import annotations

from jepa_sim.task_base import Goal, NearStart, StepBudgets, StepChanges, Task, TaskConfig, TaskEpisode, TaskError
from jepa_sim.task_names import TASKS

__all__ = [
    "Goal",
    "NearStart",
    "StepBudgets",
    "StepChanges",
    "Task",
    "TaskConfig",
    "TaskEpisode",
    "TaskError",
    "make_task",
]


def make_task(name: str, config: TaskConfig | None = None) -> Task:
    """The task called `name`, one of `jepa_sim.task_names.TASK_NAMES`.

    Raises:
        UnknownNameError: there is no such task.
    """
    return TASKS.load(name)(name, TaskConfig() if config is None else config)
