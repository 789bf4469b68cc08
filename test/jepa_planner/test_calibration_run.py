"""A calibration moves within its box, infers its moves, and ends with a rotation or with the reason why not."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from jepa_planner.calibration_moves import MoveConfig, RandomMoves, score_move
from jepa_planner.calibration_run import CalibrationConfig, CalibrationRun
from jepa_planner.camera_calibration import CalibrationRequirements, CameraCalibration, CandidateRotations
from jepa_planner.control_loop import LatentStamps, PlanningError
from jepa_planner.cost import Assessment
from jepa_planner.goals import GoalConfig, GoalSequence, Outcome, SubGoal

LOW, HIGH = (0.35, -0.3, 0.1), (0.65, 0.3, 0.5)
TURN = Rotation.from_euler("z", 35.0, degrees=True)
MOVES = MoveConfig(moves=16)


def config(moves: MoveConfig = MOVES, **requirements: float) -> CalibrationConfig:
    return CalibrationConfig(moves, CalibrationRequirements(**requirements), LOW, HIGH, "some@0123")


class TurnedTable:
    """An arm that carries actions out, and a perfect model of it whose axes are turned."""

    def __init__(self) -> None:
        self.position = np.array([0.5, 0.0, 0.3])
        self.seen: dict[int, np.ndarray] = {}
        self.time = 0
        self.fails = False

    def look(self) -> LatentStamps:
        self.time += 250_000_000
        self.seen[self.time] = self.position.copy()
        return LatentStamps((self.time,), np.array([[*self.position, np.pi, 0.0, 0.0, 0.0]]))

    def cost(self, observation: LatentStamps, state: np.ndarray, goal: int):
        offset = TURN.inv().apply(self.seen[goal] - self.seen[observation.stamps[-1]])
        table = self

        class Cost:
            def assess(self) -> Assessment:
                return Assessment(float(np.linalg.norm(offset)))

            def __call__(self, actions: np.ndarray) -> np.ndarray:
                if table.fails:
                    raise PlanningError("predictor: latent: there is none of that stamp")
                return np.linalg.norm(offset - actions[:, 0, :3], axis=-1)

        return Cost()

    def drive(self, run: CalibrationRun, steps: int = 200):
        sequence = GoalSequence((SubGoal(0),), GoalConfig())
        for _ in range(steps):
            seen = self.look()
            action = run.step(seen, seen.states[-1], sequence, self.cost)
            if action.outcome is not Outcome.PURSUING:
                return action
            self.position = self.position + action.values[:3]
        raise AssertionError("the calibration does not end")


def test_finds_how_the_axes_are_turned() -> None:
    found: list[CameraCalibration] = []
    action = TurnedTable().drive(CalibrationRun(config(), found.append))
    assert action.outcome is Outcome.REACHED and "vertical axis" in action.progress.reason
    assert found[0].yaw == pytest.approx(35.0, abs=8.0) and found[0].model == "some@0123"


def test_moves_stay_in_their_box() -> None:
    table, path = TurnedTable(), []
    look = table.look
    table.look = lambda: (path.append(table.position.copy()), look())[1]  # type: ignore[method-assign]
    table.drive(CalibrationRun(config(), lambda _: None))
    assert np.all(np.min(path, axis=0) >= np.array(LOW) - 1e-9) and np.all(
        np.max(path, axis=0) <= np.array(HIGH) + 1e-9
    )
    assert np.ptp(path, axis=0).min() > 0.1


def test_from_outside_the_box_it_comes_back() -> None:
    moves = RandomMoves(LOW, HIGH, MOVES)
    for _ in range(20):
        assert moves.next((0.9, 0.0, 0.05))[0] < 0 < moves.next((0.9, 0.0, 0.05))[2]


def test_a_predictor_that_forgets_ends_it_with_the_reason() -> None:
    table = TurnedTable()
    table.fails = True
    action = table.drive(CalibrationRun(config(), lambda _: pytest.fail("nothing can be found")))
    assert action.outcome is Outcome.BUDGET_SPENT
    assert "16 of 16 moves" in action.progress.reason and "latents_kept" in action.progress.reason


def test_a_poor_fit_is_not_used() -> None:
    run = CalibrationRun(config(uncertainty=1e-6), lambda _: pytest.fail("the fit is poor"))
    action = TurnedTable().drive(run)
    assert action.outcome is Outcome.BUDGET_SPENT and "too poor" in action.progress.reason


def test_a_move_is_scored_as_it_looks_along_each_axis() -> None:
    candidates, move = CandidateRotations.grid(), np.array([0.06, -0.08, 0.04])
    energies = score_move(lambda actions: np.linalg.norm(actions[:, 0, :3] - move, axis=-1), move, candidates)
    assert energies.shape == (len(candidates.matrices) + 1,)
    assert energies[0] == pytest.approx(0.0, abs=1e-6) and np.argmin(energies) == 0
    assert energies[-1] == pytest.approx(np.linalg.norm(move))


@pytest.mark.parametrize("senseless", [{"moves": 0}, {"step": 0.0}, {"settle": -1}])
def test_senseless_moves_are_refused(senseless: dict) -> None:
    with pytest.raises(ValueError, match="expected"):
        MoveConfig(**senseless)
