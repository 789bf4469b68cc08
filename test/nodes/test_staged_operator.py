"""Scenes set up in a simulator with its own services, as in Gazebo: here the `sim` node stands in for it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from jepa_sim.backends.available import BACKENDS, available_backends, connect
from jepa_sim.backends.staging import SceneSource
from jepa_tools.operation.ros_client import RosClient
from jepa_tools.operation.staged_operator import StagedOperator
from jepa_tools.operation.table_operator import ResetError

PREFIXES = {"gazebo_msgs": "gazebo/", "simulation_interfaces": "gzserver/"}

pytestmark = pytest.mark.skipif(
    set(available_backends()) != set(BACKENDS),
    reason=f"needs the messages of {' and '.join(BACKENDS)}; `make test` compiles the fields that are used",
)


@pytest.fixture(params=BACKENDS)
def operator(nodes: Any, request: pytest.FixtureRequest) -> Iterator[StagedOperator]:
    from jepa_sim.sim_node import SimNode

    nodes.make(SimNode, camera_rate=1.0)
    with RosClient("operator") as client:
        yield StagedOperator(client, connect(request.param, client.call, PREFIXES[request.param]))


def test_a_reset_brings_arm_and_objects_to_where_the_seed_says(operator: StagedOperator):
    scene = SceneSource().draw(5, "reach")
    operator.reset(5, "reach")
    operator.wait_for_rest(20.0)
    assert np.allclose(operator.joint_positions(), scene.arm_positions, atol=0.02)
    for name, state in scene.objects.items():
        assert np.allclose(operator.object_position(name), state.position, atol=5e-3), name


def test_a_scene_that_does_not_exist_is_refused_with_the_reason(operator: StagedOperator):
    with pytest.raises(ResetError, match="juggle"):
        operator.reset(0, "juggle")
