"""Reaching: the tool goes to a place in free space."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from jepa_sim.camera_view import is_in_view
from jepa_sim.environment import TableEnvironment
from jepa_sim.expert import ScriptedExpert, reach_script
from jepa_sim.reset import ToolPose
from jepa_sim.task_base import Goal, Task, TaskEpisode, TaskError, draw_places, is_goal_distance

Vector = NDArray[np.float64]

# From the fingertips to the hand, m.
_HAND_LENGTH = 0.10
# Inverse kinematics is this exact where the arm really reaches, m.
_REACHED = 1e-3


class ReachTask(Task):
    """Move the tool to a place in free space, 8 to 35 cm away, gripper and rotation as they are."""

    goal_by_camera = True
    published_rate = 1.0

    def prepare(self, environment: TableEnvironment, seed: int) -> TaskEpisode:
        """See `Task.prepare`. The goal's picture is taken with the arm placed there, not moved there."""
        environment.reset(seed, self.name)
        pose = self._draw_goal(environment, np.random.default_rng((seed, 2)))

        def make_goals() -> list[Goal]:
            steps = math.ceil(np.linalg.norm(pose.position - environment.state()[:3]) / self.config.expert.max_step)
            environment.place_arm(pose.joint_positions)
            return [self._goal(environment, "reached", self.config.steps.reach, steps)]

        return self._episode(environment, seed, make_goals)

    def distance(self, environment: TableEnvironment, episode: TaskEpisode) -> float:
        """From the tool to the goal's tool, m."""
        return float(np.linalg.norm(environment.state()[:3] - episode.final.state[:3]))

    def succeeded(self, environment: TableEnvironment, episode: TaskEpisode) -> bool:
        """Whether the tool is within `config.tool_tolerance`, now."""
        return self.distance(environment, episode) < self.tolerance

    def expert(self, environment: TableEnvironment, episode: TaskEpisode) -> ScriptedExpert:
        """Goes there straight."""
        return ScriptedExpert(environment, reach_script(episode.final.state[:3]), self.config.expert)

    def _draw_goal(self, environment: TableEnvironment, generator: np.random.Generator) -> ToolPose:
        state, joints = environment.state(), environment.joint_positions()
        rotation = Rotation.from_euler("xyz", state[3:6]).as_matrix()
        for position in draw_places(environment, generator, (0.02, 0.02, 0.03)):
            if not self._is_free(position, environment) or not is_goal_distance(position, state[:3], self.config):
                continue
            if not _shows_hand(environment, position):
                continue
            solution = environment.kinematics.solve(position, rotation, joints, iterations=100)
            if solution.position_error < _REACHED:
                return ToolPose(position, rotation, solution.positions)
        raise TaskError(f"{self.name}: no goal can be reached from {state[:3]} in the scene of this seed")

    def _is_free(self, position: Vector, environment: TableEnvironment) -> bool:
        if position[2] > self.config.clear_height:
            return True
        centers = environment.object_positions().values()
        return all(np.linalg.norm(position[:2] - center[:2]) > self.config.tool_clearance for center in centers)


def _shows_hand(environment: TableEnvironment, position: Vector) -> bool:
    """Whether a picture of the goal would show fingers and hand: one that does not says nothing about the goal."""
    camera = environment.config.scene.camera
    return all(is_in_view(camera, position + np.array([0.0, 0.0, height])) for height in (0.0, _HAND_LENGTH))
