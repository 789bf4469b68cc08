"""The simulator in process, behind the protocol that all simulators share."""

from collections.abc import Iterator

import numpy as np
import pytest

from jepa_sim.backends.own_simulator import MAX_STEPS, OwnSimulator
from jepa_sim.backends.protocol import SimulatorError
from jepa_sim.controlled_simulation import ControlledSimulation
from jepa_sim.entities import EntityState
from jepa_sim.scene import BOX, CUP

GREEN_BALL = (
    '<sdf version="1.9"><model name="ball"><link name="link"><visual name="look"><geometry><sphere>'
    "<radius>0.03</radius></sphere></geometry><material><diffuse>0 1 0 1</diffuse></material></visual></link>"
    "</model></sdf>"
)
ABOVE_THE_TABLE = EntityState((0.45, 0.0, 0.20))


@pytest.fixture
def simulation() -> Iterator[ControlledSimulation]:
    made = ControlledSimulation()
    yield made
    made.close()


@pytest.fixture
def simulator(simulation: ControlledSimulation) -> OwnSimulator:
    return OwnSimulator(simulation)


def greenest(image: np.ndarray) -> int:
    red, green, blue = (image[..., channel].astype(int) for channel in range(3))
    return int(((green > 2 * red) & (green > 2 * blue) & (green > 60)).sum())


def test_a_spawned_ball_is_seen_falls_and_is_gone_after_a_reset(
    simulation: ControlledSimulation, simulator: OwnSimulator
):
    before = greenest(simulation.picture(128, 128).image)
    cup, time_ns = simulator.state(CUP), simulation.time_ns
    simulator.spawn("ball", GREEN_BALL, ABOVE_THE_TABLE)
    assert simulator.entities() == (CUP, BOX, "ball")
    assert simulator.state("ball").position == pytest.approx(ABOVE_THE_TABLE.position)
    assert simulator.state(CUP).position == pytest.approx(cup.position), "the rest of the scene stays"
    assert greenest(simulation.picture(128, 128).image) > before + 20

    simulator.pause()
    simulator.step(100)
    assert simulator.state("ball").position[2] < 0.1
    assert simulation.time_ns == time_ns + round(100 * simulation.timestep * 1e9)
    simulator.reset()
    assert simulator.entities() == (CUP, BOX)
    assert greenest(simulation.picture(128, 128).image) == before
    assert simulation.time_ns > time_ns, "the clock goes on"


def test_an_entity_is_put_somewhere_and_moves_as_told(simulator: OwnSimulator):
    quarter_turn = (0.0, 0.0, np.sqrt(0.5), np.sqrt(0.5))
    wanted = EntityState((0.5, 0.1, 0.3), quarter_turn, (0.1, 0.2, 0.3), (1.0, 2.0, 3.0))
    simulator.set_state(BOX, wanted)
    found = simulator.state(BOX)
    for name in ("position", "orientation", "linear_velocity", "angular_velocity"):
        assert getattr(found, name) == pytest.approx(getattr(wanted, name), abs=1e-6), name


def test_a_deleted_entity_is_gone_and_its_name_is_free_again(simulator: OwnSimulator):
    simulator.spawn("ball", GREEN_BALL, ABOVE_THE_TABLE)
    with pytest.raises(SimulatorError, match="'ball' again"):
        simulator.spawn("ball", GREEN_BALL, ABOVE_THE_TABLE)
    simulator.delete("ball")
    with pytest.raises(SimulatorError, match="'ball'"):
        simulator.state("ball")
    simulator.spawn("ball", GREEN_BALL, ABOVE_THE_TABLE)


def test_the_arm_stays_where_it_is_when_something_is_spawned(simulation: ControlledSimulation, simulator: OwnSimulator):
    before = simulation.advance(0)
    simulator.spawn("ball", GREEN_BALL, ABOVE_THE_TABLE)
    after = simulation.advance(20)
    assert after.positions == pytest.approx(before.positions, abs=1e-3)


def test_what_cannot_be_done_is_refused_with_the_reason(simulator: OwnSimulator):
    with pytest.raises(SimulatorError, match=r"not deleted.*'cup'"):
        simulator.delete(CUP)
    with pytest.raises(SimulatorError, match="'panda_link0' again"):
        simulator.spawn("panda_link0", GREEN_BALL, ABOVE_THE_TABLE)
    with pytest.raises(SimulatorError, match="not spawned: expected SDF or URDF"):
        simulator.spawn("ball", "<", ABOVE_THE_TABLE)
    with pytest.raises(SimulatorError, match="finite"):
        simulator.set_state(CUP, EntityState((float("inf"), 0.0, 0.0)))
    with pytest.raises(SimulatorError, match="pause it"):
        simulator.step()
    simulator.pause()
    with pytest.raises(SimulatorError, match=f"1 to {MAX_STEPS} steps"):
        simulator.step(MAX_STEPS + 1)


def test_a_reset_returns_to_the_scene_that_was_chosen_last(simulator: OwnSimulator):
    simulator.choose_scene(3, "reach")
    simulator.reset()
    first = simulator.state(CUP).position
    simulator.set_state(CUP, EntityState((0.4, 0.0, 0.2)))
    simulator.reset()
    assert simulator.state(CUP).position == pytest.approx(first)
