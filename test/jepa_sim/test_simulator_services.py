"""The `sim` node driven from outside with the services of Gazebo Classic and of `simulation_interfaces`."""

import importlib
import time
from collections.abc import Callable
from typing import Any

import pytest

from jepa_common.qos_profiles import joint_states_qos
from jepa_common.stamps import to_nanoseconds
from jepa_sim.backends.available import BACKENDS, available_backends, connect
from jepa_sim.backends.protocol import Feature, SimulatorBackend, SimulatorError, UnsupportedFeatureError
from jepa_sim.entities import EntityState
from jepa_sim.scene import BOX, CUP

BALL = (
    '<robot name="ball"><link name="ball"><visual><geometry><sphere radius="0.03"/></geometry></visual></link></robot>'
)
HIGH_UP = EntityState((0.45, 0.0, 0.9))
PREFIXES = {"gazebo_msgs": "gazebo/", "simulation_interfaces": "gzserver/"}

pytestmark = pytest.mark.skipif(
    set(available_backends()) != set(BACKENDS.names()),
    reason=f"needs the messages of {' and '.join(BACKENDS.names())}; `make test` compiles the fields that are used",
)


@pytest.fixture(params=BACKENDS.names())
def simulator(nodes: Any, request: pytest.FixtureRequest) -> SimulatorBackend:
    """The simulator as seen from another process: only through services."""
    from jepa_sim.sim_node import SimNode

    nodes.make(SimNode, camera_rate=0.1)
    return connect(request.param, nodes.call, PREFIXES[request.param])


def clock(nodes: Any) -> Callable[[], int]:
    """A function that returns the newest time on /clock, ns."""
    message = importlib.import_module("rosgraph_msgs.msg").Clock
    clocks = nodes.collect(message, "/clock", joint_states_qos())
    nodes.wait_until(lambda: bool(clocks), "a clock")
    return lambda: to_nanoseconds(clocks[-1].clock)


def test_entities_are_spawned_moved_read_and_deleted(simulator: SimulatorBackend):
    simulator.pause()
    assert set(simulator.entities()) == {CUP, BOX}
    simulator.spawn("ball", BALL, HIGH_UP)
    assert simulator.state("ball").position == pytest.approx(HIGH_UP.position)
    wanted = EntityState((0.5, 0.1, 0.5), (0.0, 0.0, 1.0, 0.0), (0.1, 0.0, 0.0), (0.0, 0.0, 0.5))
    simulator.set_state("ball", wanted)
    found = simulator.state("ball")
    assert found.position == pytest.approx(wanted.position)
    assert found.linear_velocity == pytest.approx(wanted.linear_velocity)
    assert found.angular_velocity == pytest.approx(wanted.angular_velocity)
    simulator.delete("ball")
    assert set(simulator.entities()) == {CUP, BOX}


def test_a_reset_puts_everything_back_and_removes_what_was_spawned(simulator: SimulatorBackend):
    simulator.pause()
    before = simulator.state(CUP).position
    simulator.spawn("ball", BALL, HIGH_UP)
    simulator.set_state(CUP, EntityState((0.4, 0.2, 0.6)))
    simulator.reset()
    assert simulator.state(CUP).position == pytest.approx(before, abs=2e-3)
    assert set(simulator.entities()) == {CUP, BOX}


def test_time_stands_still_while_paused_and_goes_on_afterwards(simulator: SimulatorBackend, nodes: Any):
    now = clock(nodes)
    simulator.pause()
    simulator.pause()
    time.sleep(0.1)
    paused = now()
    time.sleep(0.3)
    assert now() == paused
    simulator.resume()
    nodes.wait_until(lambda: now() > paused, "time to go on")


def test_a_paused_simulation_is_stepped_where_the_services_can(simulator: SimulatorBackend, nodes: Any):
    now = clock(nodes)
    if Feature.STEP not in simulator.features:
        with pytest.raises(UnsupportedFeatureError, match="Classic"):
            simulator.step()
        return
    with pytest.raises(SimulatorError, match="pause it"):
        simulator.step()
    simulator.pause()
    time.sleep(0.1)
    paused = now()
    simulator.step(10)
    nodes.wait_until(lambda: now() == paused + 50_000_000, "ten steps of 5 ms on the clock")


def test_a_refusal_comes_back_with_its_reason(simulator: SimulatorBackend):
    with pytest.raises(SimulatorError, match="teapot"):
        simulator.state("teapot")
    with pytest.raises(SimulatorError, match="teapot"):
        simulator.set_state("teapot", HIGH_UP)
    with pytest.raises(SimulatorError, match="cup"):
        simulator.delete(CUP)
    with pytest.raises(SimulatorError, match="does not parse"):
        simulator.spawn("ball", "<", HIGH_UP)


def test_another_frame_and_other_scopes_are_refused(simulator: SimulatorBackend, nodes: Any):
    if isinstance(simulator, importlib.import_module("jepa_sim.backends.gazebo_classic").GazeboClassicClient):
        service = importlib.import_module("gazebo_msgs.srv").GetEntityState
        answer = nodes.call(service, "gazebo/get_entity_state", service.Request(name=CUP, reference_frame="box"))
        assert not answer.success
        return
    service = importlib.import_module("simulation_interfaces.srv").ResetSimulation
    answer = nodes.call(service, "gzserver/reset_simulation", service.Request(scope=service.Request.SCOPE_TIME))
    assert "clock" in answer.result.error_message


def test_an_unknown_backend_is_named():
    with pytest.raises(ValueError, match="'bullet'"):
        connect("bullet", lambda service_type, name, request: None)
