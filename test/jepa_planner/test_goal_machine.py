"""Every goal ends exactly once, with the right code, whatever happens in between."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jepa_planner.goal_images import GoalImage, GoalImages
from jepa_planner.goal_machine import ErrorCode, GoalMachine, GoalResult, State
from jepa_planner.goals import GoalConfig, GoalSequence, SubGoal


class Recorder:
    """A machine and the results that it gave."""

    def __init__(self, active: bool = True) -> None:
        self.results: list[tuple[str, GoalResult]] = []
        self.machine: GoalMachine[int] = GoalMachine(5.0, lambda goal, result: self.results.append((goal, result)))
        if active:
            self.machine.activate()

    def pursue(self, goal: str = "cup", **config: float) -> GoalSequence[int]:
        self.machine.announce(goal, 0.0, "waits")
        sequence = GoalSequence([SubGoal(1)], GoalConfig(tolerance=0.1, plateau_steps=0, **config))
        self.machine.start(sequence)
        return sequence

    @property
    def codes(self) -> list[tuple[str, ErrorCode]]:
        return [(goal, result.code) for goal, result in self.results]


def test_goal_is_announced_started_stepped_and_reached() -> None:
    recorder = Recorder()
    machine = recorder.machine
    assert machine.state is State.IDLE and not machine.wants_step
    machine.announce("cup", 0.0, "waits for the encoder")
    assert machine.state is State.HOLDING and machine.reason == "waits for the encoder"
    sequence = GoalSequence([SubGoal(1)], GoalConfig(tolerance=0.1))
    machine.start(sequence)
    assert machine.state is State.PLANNING and machine.wants_step
    assert machine.observed(sequence.observe(0.9), 0.9)
    machine.stepped()
    assert not machine.observed(sequence.observe(0.05), 0.05)
    assert machine.state is State.REACHED and not machine.reason
    goal, result = recorder.results[0]
    assert (goal, result.code, result.steps, result.energies) == ("cup", ErrorCode.REACHED, 1, (0.9,))


def test_newer_goal_replaces_the_older() -> None:
    recorder = Recorder()
    recorder.pursue("cup")
    recorder.pursue("box")
    assert recorder.codes == [("cup", ErrorCode.REPLACED)]
    assert recorder.machine.goal == "box" and recorder.machine.state is State.PLANNING


def test_goal_without_an_active_planner_is_answered_at_once() -> None:
    recorder = Recorder(active=False)
    recorder.machine.announce("cup", 0.0, "")
    assert recorder.codes == [("cup", ErrorCode.NOT_ACTIVE)] and "activate" in recorder.results[0][1].message


def test_hold_says_why_and_the_next_step_forgets_it() -> None:
    recorder = Recorder()
    recorder.pursue()
    recorder.machine.hold(ErrorCode.STALE_DATA, "camera image: too old", 1.0)
    assert recorder.machine.state is State.HOLDING and recorder.machine.reason == "camera image: too old"
    assert recorder.machine.must_rest and recorder.machine.wants_step
    recorder.machine.stepped()
    assert recorder.machine.state is State.PLANNING and not recorder.machine.must_rest
    recorder.machine.hold(ErrorCode.STALE_DATA, "again", 4.0)
    recorder.machine.hold(ErrorCode.STALE_DATA, "again", 8.9)
    assert not recorder.results


def test_granted_step_is_carried_out_until_a_pause_or_a_hold() -> None:
    for end in ("pause", "hold"):
        recorder = Recorder()
        machine = recorder.machine
        recorder.pursue()
        machine.pause()
        assert machine.must_rest and machine.step(1.0) and not machine.must_rest
        machine.stepped()
        assert machine.state is State.PAUSED and not machine.wants_step and not machine.must_rest
        if end == "pause":
            machine.pause()
        else:
            machine.hold(ErrorCode.STALE_DATA, "camera image: too old", 2.0)
        assert machine.must_rest and not recorder.results


def test_hold_that_lasts_gives_the_goal_up_with_its_code() -> None:
    recorder = Recorder()
    recorder.pursue()
    for now in (1.0, 3.0, 6.0):
        recorder.machine.hold(ErrorCode.STALE_DATA, "camera image: too old", now)
    assert recorder.codes == [("cup", ErrorCode.STALE_DATA)]
    assert recorder.machine.state is State.ABORTED and recorder.machine.reason == "camera image: too old"


def test_unsafe_command_can_abort_at_once() -> None:
    recorder = Recorder()
    recorder.pursue()
    recorder.machine.hold(ErrorCode.UNSAFE, "keep-out box", 1.0, abort=True)
    assert recorder.codes == [("cup", ErrorCode.UNSAFE)]


def test_spent_budget_aborts() -> None:
    recorder = Recorder()
    sequence = recorder.pursue(max_steps=1)
    assert recorder.machine.observed(sequence.observe(1.0), 1.0)
    assert not recorder.machine.observed(sequence.observe(1.0), 1.0)
    assert recorder.codes == [("cup", ErrorCode.BUDGET_SPENT)] and recorder.machine.state is State.ABORTED


def test_pause_holds_without_giving_up_and_resume_goes_on() -> None:
    recorder = Recorder()
    recorder.pursue()
    recorder.machine.pause()
    assert recorder.machine.state is State.PAUSED and not recorder.machine.wants_step
    for now in range(1, 100):
        recorder.machine.hold(ErrorCode.STALE_DATA, "camera image: too old", float(now))
    assert not recorder.results
    recorder.machine.resume(100.0)
    recorder.machine.hold(ErrorCode.STALE_DATA, "camera image: too old", 101.0)
    assert recorder.machine.wants_step and not recorder.results


def test_step_takes_one_step_of_a_paused_goal() -> None:
    recorder = Recorder()
    assert not recorder.machine.step(0.0)
    recorder.pursue()
    assert not recorder.machine.step(0.0)
    recorder.machine.pause()
    assert recorder.machine.step(0.0) and recorder.machine.wants_step
    recorder.machine.stepped()
    assert recorder.machine.state is State.PAUSED and not recorder.machine.wants_step


def test_cancel_ends_the_goal_and_leaves_the_planner_idle() -> None:
    recorder = Recorder()
    assert not recorder.machine.cancel("stop")
    recorder.pursue()
    assert recorder.machine.cancel("stopped by the service") and recorder.machine.state is State.IDLE
    assert recorder.codes == [("cup", ErrorCode.CANCELED)]


def test_deactivation_ends_the_goal() -> None:
    recorder = Recorder()
    recorder.pursue()
    recorder.machine.deactivate()
    assert recorder.codes == [("cup", ErrorCode.NOT_ACTIVE)] and recorder.machine.state is State.INACTIVE


events = st.sampled_from(
    ["announce", "start", "pause", "resume", "step", "cancel", "hold", "stepped", "reach", "spend", "off", "on"]
)


def happen(machine: GoalMachine[int], event: str, now: float, announced: list[str]) -> None:
    sequence = machine.sequence
    {
        "announce": lambda: machine.announce(announced[-1], now, "waits"),
        "start": lambda: machine.start(GoalSequence([SubGoal(1)], GoalConfig(tolerance=0.1, max_steps=3))),
        "step": lambda: machine.step(now),
        "hold": lambda: machine.hold(ErrorCode.UNSAFE, "unsafe", now),
        "reach": lambda: machine.observed(sequence.observe(0.0), 0.0),
        "spend": lambda: machine.observed(sequence.observe(1.0), 1.0),
        "stepped": machine.stepped,
        "resume": lambda: machine.resume(now),
        "cancel": lambda: machine.cancel("enough"),
        "pause": machine.pause,
        "off": machine.deactivate,
        "on": machine.activate,
    }[event]()


@given(st.lists(st.tuples(events, st.floats(0, 4)), max_size=60))
def test_every_goal_ends_exactly_once(history: list[tuple[str, float]]) -> None:
    recorder, now, announced = Recorder(), 0.0, []
    machine = recorder.machine
    for event, pause in history:
        now += pause
        sequence = machine.sequence
        if event == "announce":
            announced.append(f"goal {len(announced)}")
        if event in ("reach", "spend", "stepped") and sequence is None:
            continue
        happen(machine, event, now, announced)
        assert not (machine.wants_step and machine.goal is None)
        assert (machine.state in (State.PLANNING, State.HOLDING)) <= (machine.goal is not None)
    machine.deactivate()
    assert sorted(goal for goal, _ in recorder.results) == sorted(announced)


def images(count: int = 2) -> tuple[GoalImages[str], list[tuple[str, int]]]:
    sent: list[tuple[str, int]] = []
    parts = [GoalImage(f"image {index}") for index in range(count)]
    return GoalImages(parts, lambda message, stamp: sent.append((message, stamp)), 100, timeout=2.0), sent


def test_goal_images_go_out_one_after_the_other() -> None:
    goal, sent = images()
    assert not goal.tick(0.0) and not goal.tick(0.1)
    assert sent == [("image 0", 100)] and "1 of 2" in goal.waits_for
    assert goal.latent_came(100) and not goal.tick(0.2)
    assert sent[1:] == [("image 1", 101)] and not goal.complete
    assert goal.latent_came(101) and goal.complete and goal.stamps == (100, 101)
    assert not goal.latent_came(7)


def test_latent_that_does_not_come_is_an_error_for_people() -> None:
    goal, _ = images(1)
    goal.tick(0.0)
    assert "is the encoder active" in goal.tick(2.5)


def test_lost_sub_goal_is_shown_again_under_the_same_name() -> None:
    goal, sent = images(1)
    goal.tick(0.0)
    goal.latent_came(100)
    goal.send_again(0)
    assert sent == [("image 0", 100)] * 2 and goal.complete


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan")])
def test_patience_must_be_positive(seconds: float) -> None:
    with pytest.raises(ValueError, match="positive"):
        GoalMachine(seconds, lambda goal, result: None)
