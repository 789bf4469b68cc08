"""Nothing gets past the safety filter that is not finite, inside every limit, continuous, fresh and in place."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from franka import HOME, cautious_limits, kinematics
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from jepa_planner.arm_motion import ArmMotion, ArmMotionConfig
from jepa_planner.limits import Envelope, JointLimits, fer_limits, fr3_limits
from jepa_planner.motion import CommandedMotion, MotionState, Segment, SegmentPlanner
from jepa_planner.safety import (
    ApprovedCommand,
    Box,
    Command,
    Observation,
    SafetyConfig,
    SafetyFilter,
    Verdict,
    boxes_from_numbers,
)

KINEMATICS = kinematics()
LIMITS = cautious_limits()
PLANNER = SegmentPlanner(LIMITS)
TABLE = KINEMATICS.ik([0.5, 0.0, 0.25, np.pi, 0, 0], HOME).positions
SAFETY = SafetyConfig(ramp_seconds=0.0, keep_out=(Box((0.55, 0.1, 0.0), (0.65, 0.3, 0.3)),))
# Commands per case of the tests that drive the arm.
STEPS = 5
LONG_RUN, CHUNKS = 100_000, 10
URDF_LIMITS = KINEMATICS.limits()
# What an arm may be driven with, from timid to all that its maker allows.
ARMS = {
    "as by default": LIMITS,
    "fr3": Envelope().apply(URDF_LIMITS.stricter(fr3_limits(LIMITS.names))),
    "fast": Envelope(acceleration_scale=1.0, max_jerk=5000.0).apply(URDF_LIMITS.stricter(fer_limits(LIMITS.names))),
    "slow": Envelope(0.1, 0.05, 50.0, 0.1, 0.5).apply(URDF_LIMITS.stricter(fer_limits(LIMITS.names))),
}
PLANNED_SECONDS = {"as by default": 0.25, "fr3": 0.25, "fast": 0.25, "slow": 0.5}


def observation(now: float = 10.0, positions: np.ndarray = TABLE, **changes: float) -> Observation:
    fresh = Observation(now, positions, positions, image_age=0.1, latent_age=0.05, joint_state_age=0.01)
    return replace(fresh, **changes)


def safety(**changes: float) -> SafetyFilter:
    made = SafetyFilter(replace(SAFETY, **changes), LIMITS, KINEMATICS)
    made.activate(0.0)
    return made


def segment(start: float = 10.05, move: float = 0.05) -> Segment:
    return PLANNER.to_target(start, MotionState.at_rest(TABLE), TABLE + move * np.array([1, 0, 0, 0, 0, 1, 0]))


def arm(now: float = 0.0, positions: np.ndarray = TABLE, **changes: float) -> ArmMotion:
    made = ArmMotion(KINEMATICS, LIMITS, replace(SAFETY, **changes), ArmMotionConfig())
    made.synchronise(positions)
    made.safety.activate(now)
    return made


def test_good_command_passes_unchanged() -> None:
    wanted = segment()
    verdict = safety().check(Command(wanted, 0.5), observation(), CommandedMotion(TABLE))
    assert verdict.command is not None and verdict.command.segment is wanted and not verdict.reason


def test_nobody_else_can_approve_a_command() -> None:
    with pytest.raises(ValueError, match="only SafetyFilter"):
        ApprovedCommand(Command(segment()), segment(), object())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_age": 0.6}, "camera image.*0.60 s old"),
        ({"latent_age": 0.6}, "latent"),
        ({"joint_state_age": 0.2}, "joint_states"),
        ({"image_age": float("inf")}, "never came"),
        ({"joint_state_age": float("nan")}, "joint_states"),
        ({"image_age": -5.0}, "future"),
        ({"measured": TABLE + 0.3}, "from where it was commanded"),
        ({"measured": np.full(7, np.nan)}, "from where it was commanded"),
    ],
)
def test_data_that_cannot_be_trusted_hold_the_arm(changes: dict, message: str) -> None:
    verdict = safety().check(Command(segment()), observation(**changes), CommandedMotion(TABLE))
    assert verdict.command is None and re.search(message, verdict.reason)


def mutated(field: str, change: Callable[[np.ndarray], np.ndarray]) -> Segment:
    good = segment()
    return replace(good, **{field: change(np.array(getattr(good, field)))})


def poke(index: tuple[int, int], value: float) -> Callable[[np.ndarray], np.ndarray]:
    def change(values: np.ndarray) -> np.ndarray:
        values[index] += value
        return values

    return change


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (mutated("positions", poke((1, 0), np.nan)), "not finite"),
        (mutated("accelerations", poke((1, 0), np.inf)), "not finite"),
        (mutated("positions", lambda values: values + 0.01), "position at the splice"),
        (mutated("velocities", lambda values: values + 0.01), "velocity at the splice"),
        (mutated("accelerations", lambda values: values + 0.1), "acceleration at the splice"),
        (mutated("positions", poke((2, 3), 0.01)), "position between points"),
        (mutated("velocities", poke((2, 3), 0.01)), "velocity between points"),
        (mutated("times", lambda times: times[::-1].copy()), "times must increase"),
        (mutated("times", lambda times: times * 0.0), "times must increase"),
        (mutated("times", lambda times: times[:-1]), "do not match"),
        (replace(segment(), start=9.0), "would start 1.000 s ago"),
        (replace(segment(), start=float("nan")), "not finite"),
    ],
)
def test_damaged_trajectory_is_refused(bad: Segment, message: str) -> None:
    verdict = safety().check(Command(bad), observation(), CommandedMotion(TABLE))
    assert verdict.command is None and message in verdict.reason


@pytest.mark.parametrize("quantity", ["lower", "velocity", "acceleration", "jerk"])
def test_trajectory_made_with_looser_limits_is_refused(quantity: str) -> None:
    tight = {"lower": TABLE - 0.01, "velocity": LIMITS.velocity / 10}
    changed = tight.get(quantity, getattr(LIMITS, quantity) / 2)
    filtered = SafetyFilter(SAFETY, replace(LIMITS, **{quantity: changed}), KINEMATICS)
    filtered.activate(0.0)
    verdict = filtered.check(Command(segment(move=-0.1)), observation(), CommandedMotion(TABLE))
    assert verdict.command is None
    assert {"lower": "position"}.get(quantity, quantity) in verdict.reason


def toward(made: ArmMotion, *step: float, now: float = 10.0) -> Verdict:
    values = np.zeros(7)
    values[: len(step)] = step
    position = made.desired(now).position
    return made.toward(KINEMATICS.state(position, 0.0), values, None, observation(now, position))


def test_action_that_is_too_long_is_shortened() -> None:
    command = toward(arm(max_step=0.05), -0.5, 0.0, 0.0).command
    moved = KINEMATICS.pose(command.segment.target)[:3] - KINEMATICS.pose(TABLE)[:3]
    np.testing.assert_allclose(moved, (-0.05, 0, 0), atol=1e-3)


def test_target_below_the_floor_ends_above_it() -> None:
    made, now = arm(positions=KINEMATICS.ik([0.5, -0.1, 0.03, np.pi, 0, 0], HOME).positions), 10.0
    command = toward(made, 0.0, 0.0, -0.05).command
    assert KINEMATICS.pose(command.segment.target)[2] >= SAFETY.finger_floor - 1e-3
    assert made.is_moving(now) is False


def test_keep_out_box_is_kept_out_of_but_may_be_left() -> None:
    outside = arm(positions=KINEMATICS.ik([0.5, 0.2, 0.2, np.pi, 0, 0], HOME).positions)
    verdict = toward(outside, 0.06, 0.0, 0.0)
    assert verdict.command is None and "keep-out box" in verdict.reason
    within = arm(positions=KINEMATICS.ik([0.56, 0.2, 0.2, np.pi, 0, 0], HOME).positions)
    assert toward(within, -0.06, 0.0, 0.0).command is not None
    assert toward(within, 0.06, 0.0, 0.0).command is None


def test_arm_outside_its_workspace_may_come_in() -> None:
    high = KINEMATICS.ik([0.45, 0.0, 0.65, np.pi, 0, 0], HOME).positions
    assert toward(arm(positions=high), 0.0, 0.0, -0.05).command is not None


def test_tool_is_slowed_down_to_its_speed_limit() -> None:
    made = arm(max_tool_speed=0.05)
    command = toward(made, 0.0, 0.08, 0.0).command
    assert made.safety.tool_speed(command.segment) <= 0.0501


def test_authority_grows_after_activation() -> None:
    made = arm(now=10.0, ramp_seconds=2.0, initial_authority=0.1)
    lengths = []
    for now in (10.0, 11.0, 12.0):
        target = toward(made, -0.08, 0.0, 0.0, now=now).command.segment.target
        lengths.append(np.linalg.norm(KINEMATICS.pose(target)[:3] - KINEMATICS.pose(TABLE)[:3]))
    np.testing.assert_allclose(lengths, (0.0075, 0.0375, 0.075), atol=1e-3)


def test_filter_that_was_not_activated_gives_no_authority() -> None:
    assert SafetyFilter(SAFETY, LIMITS, KINEMATICS).authority(10.0) == 0.0


def test_arm_slows_down_toward_a_singularity_and_does_not_enter_it() -> None:
    filtered = safety()
    assert filtered.singularity_scale(10.0) == 1.0
    assert 0.1 < filtered.singularity_scale(25.0) < 0.5
    far = KINEMATICS.ik([0.72, 0.0, 0.4, np.pi, 0, 0], HOME).positions
    stretched = arm(positions=far, workspace=Box((0, -1, 0), (1, 1, 1)))
    assert "out of reach" in toward(stretched, 0.08, 0.0, 0.08).reason


def test_persistent_refusal_aborts_and_success_forgets() -> None:
    filtered = safety(max_refusals=3)
    stale, good = observation(image_age=9.0), observation()
    aborts = [filtered.check(Command(segment()), stale, CommandedMotion(TABLE)).abort for _ in range(3)]
    assert aborts == [False, False, True]
    assert filtered.check(Command(segment()), good, CommandedMotion(TABLE)).command is not None
    assert not filtered.check(Command(segment()), stale, CommandedMotion(TABLE)).abort


def test_surprise_is_tolerated_for_a_few_steps_only() -> None:
    filtered = safety(max_surprise=0.5, persistence=3)
    strange = observation(surprise=0.9)
    passed = [filtered.check(Command(segment()), strange, CommandedMotion(TABLE)).command for _ in range(4)]
    assert [command is not None for command in passed] == [True, True, False, False]


def test_filter_that_was_not_activated_approves_nothing() -> None:
    verdict = SafetyFilter(SAFETY, LIMITS, KINEMATICS).check(Command(segment()), observation(), CommandedMotion(TABLE))
    assert verdict.command is None and "not activated" in verdict.reason


def test_step_that_is_too_long_is_refused_whoever_planned_it() -> None:
    far = KINEMATICS.ik([0.5, 0.3, 0.25, np.pi, 0, 0], TABLE).positions
    wanted = PLANNER.to_target(10.05, MotionState.at_rest(TABLE), far)
    verdict = safety(keep_out=(), max_tool_speed=9.0).check(Command(wanted), observation(), CommandedMotion(TABLE))
    assert verdict.command is None and "from where the image showed it" in verdict.reason


def test_state_that_is_far_off_does_not_send_the_arm_far() -> None:
    made = arm()
    astray = KINEMATICS.state(TABLE, 0.0) + np.array([-0.2, -0.25, 0.1, 0, 0, 0, 0])
    verdict = made.toward(astray, np.zeros(7), None, observation())
    command = verdict.command
    assert command is not None, verdict.reason
    way = np.linalg.norm(KINEMATICS.pose(command.segment.target)[:3] - KINEMATICS.pose(TABLE)[:3])
    assert way <= SAFETY.max_step + 0.01


def test_singularity_on_the_way_is_found_too() -> None:
    straight = np.array([0.0, 0.3, 0.0, -0.15, 0.0, 0.5, 0.8])
    bent = np.array([1.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0])
    assert KINEMATICS.condition(straight) > SAFETY.stop_condition
    loose = replace(LIMITS, lower=np.full(7, -4.0), upper=np.full(7, 4.0))
    through = SegmentPlanner(loose).to_target(10.05, MotionState.at_rest(straight - 1.3 * bent), straight + 0.7 * bent)
    anywhere = replace(
        SAFETY, workspace=Box((-9, -9, -9), (9, 9, 9)), keep_out=(), finger_floor=-9.0, max_step=9.0, max_tool_speed=9.0
    )
    filtered = SafetyFilter(anywhere, loose, KINEMATICS)
    filtered.activate(0.0)
    ends = [KINEMATICS.condition(through.positions[index]) for index in (0, -1)]
    assert max(ends) < SAFETY.stop_condition
    there = observation(positions=through.positions[0])
    verdict = filtered.check(Command(through), there, CommandedMotion(through.positions[0]))
    assert verdict.command is None and "singularity" in verdict.reason


def test_stop_close_to_the_floor_stays_above_it() -> None:
    made, now = arm(positions=KINEMATICS.ik([0.45, -0.2, 0.09, np.pi, 0, 0], HOME).positions), 10.0
    made.commit(toward(made, 0.03, 0.0, -0.075).command, now)
    for later in np.arange(0.1, 0.6, 0.05):
        stop = made.stop(now + later).command
        heights = [KINEMATICS.pose(stop.segment.sample(t).position)[2] for t in np.linspace(*_span(stop.segment), 20)]
        assert min(heights) > SAFETY.finger_floor - 1e-3


def _span(wanted: Segment) -> tuple[float, float]:
    return wanted.start, wanted.end


def test_stop_needs_no_camera_and_ends_at_rest() -> None:
    made = arm()
    made.commit(toward(made, 0.0, -0.08, 0.0).command, 10.0)
    assert made.is_moving(10.1)
    stop = made.stop(10.1).command
    made.commit(stop, 10.1)
    assert stop.segment.end < 10.1 + 0.3
    np.testing.assert_array_equal(made.desired(10.5).velocity, 0.0)


def test_unknown_arm_gets_no_command() -> None:
    made = ArmMotion(KINEMATICS, LIMITS, SAFETY, ArmMotionConfig())
    assert made.toward(np.zeros(7), np.zeros(7), None, observation()).command is None
    assert made.stop(1.0).command is None and "none came yet" in made.stop(1.0).reason


def test_action_without_rotation_does_not_add_up_measured_wobble() -> None:
    made = arm()
    for step in range(8):
        now = 10.0 + 0.25 * step
        state = KINEMATICS.state(made.desired(now).position, 0.0)
        state[3:6] += 0.05
        values = np.array([0.0, -0.02, 0.0, 0, 0, 0, 0])
        seen = observation(now, made.desired(now).position)
        made.commit(made.toward(state, values, None, seen).command, now)
    roll, pitch, yaw = KINEMATICS.pose(made.desired(99.0).position)[3:]
    np.testing.assert_allclose((abs(roll), pitch, yaw), (np.pi, 0, 0), atol=0.01)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Box((0, 0, 0), (0, 1, 1)),
        lambda: boxes_from_numbers([1.0] * 5),
        lambda: replace(SAFETY, max_step=0.0),
        lambda: replace(SAFETY, slow_condition=40.0),
    ],
)
def test_senseless_settings_are_refused(make: object) -> None:
    with pytest.raises(ValueError, match=r"needed|take|positive|needs"):
        make()


anything = st.floats(allow_nan=True, allow_infinity=True) | st.floats(-1, 1)
steps = st.tuples(
    st.lists(anything, min_size=7, max_size=7),  # action
    st.lists(st.floats(-0.3, 0.3) | anything, min_size=7, max_size=7),  # error of the measured state
    st.sampled_from([0.05, 0.05, 0.05, 0.4, 2.0, float("nan"), -3.0]),  # data age
    st.floats(-0.2, 0.2) | st.just(0.0),  # tracking error
    st.floats(0.02, 0.7),  # time until the next step
    st.booleans(),  # stop instead
)


def assert_safe(command: ApprovedCommand, made: ArmMotion, now: float, limits: JointLimits) -> None:
    """Everything that the arm relies on, checked without the filter's own code."""
    wanted = command.segment
    for values in (wanted.times, wanted.positions, wanted.velocities, wanted.accelerations):
        assert np.all(np.isfinite(values))
    assert wanted.start > now and wanted.times[0] == 0 and np.all(np.diff(wanted.times) > 0)
    assert_spliced(wanted, made.desired(wanted.start), limits)
    assert np.all(wanted.positions > limits.lower - 1e-5) and np.all(wanted.positions < limits.upper + 1e-5)
    backward, forward = limits.velocity_bounds(wanted.positions, wanted.positions)
    assert np.all(wanted.velocities > backward - 1e-3) and np.all(wanted.velocities < forward + 1e-3)
    assert np.all(np.abs(wanted.accelerations) < limits.acceleration + 1e-2)
    jerks = np.diff(wanted.accelerations, axis=0) / np.diff(wanted.times)[:, None]
    assert np.all(np.abs(jerks) < limits.jerk * 1.01)
    np.testing.assert_allclose(wanted.velocities[-1], 0.0, atol=1e-4)
    assert command.closedness is None or 0 <= command.closedness <= 1


def assert_spliced(wanted: Segment, before: MotionState, limits: JointLimits) -> None:
    """Position, velocity and acceleration go on; over a millisecond across the splice, so does the jerk's bound."""
    np.testing.assert_allclose(wanted.positions[0], before.position, atol=1e-5)
    np.testing.assert_allclose(wanted.velocities[0], before.velocity, atol=1e-4)
    np.testing.assert_allclose(wanted.accelerations[0], before.acceleration, atol=1e-2)
    change = wanted.sample(wanted.start + 1e-3).acceleration - before.acceleration
    assert np.all(np.abs(change) < 1.01e-3 * limits.jerk + 1e-3)


def assert_in_workspace(command: ApprovedCommand) -> None:
    for time in np.linspace(command.segment.start, command.segment.end, 12):
        x, y, z = KINEMATICS.pose(command.segment.sample(time).position)[:3]
        assert 0.248 < x < 0.752 and -0.402 < y < 0.402 and SAFETY.finger_floor - 2e-3 < z < 0.602
        assert not (0.552 < x < 0.648 and 0.102 < y < 0.298 and z < 0.298)


def drive(name: str, plan: list[tuple]) -> None:
    limits, now = ARMS[name], 10.0
    made = ArmMotion(KINEMATICS, limits, SAFETY, ArmMotionConfig())
    made.synchronise(TABLE)
    made.safety.activate(0.0)
    for values, error, age, astray, pause, stop in plan:
        position = made.desired(now).position
        state = KINEMATICS.state(position, 0.3) + np.asarray(error)
        seen = observation(now, position, image_age=age, measured=position + astray)
        verdict = made.stop(now) if stop else made.toward(state, np.asarray(values), values[6], seen)
        if verdict.command is None:
            assert verdict.reason and not stop, verdict.reason
        else:
            assert_safe(verdict.command, made, now, limits)
            if stop:
                assert verdict.command.segment.duration <= PLANNED_SECONDS[name] + 1e-6
            else:
                assert age == 0.05 or age == 0.4
                assert abs(astray) <= SAFETY.max_tracking_error + 1e-9
                assert_in_workspace(verdict.command)
            made.commit(verdict.command, now)
        now += pause


arms, plans = st.sampled_from(sorted(ARMS)), st.lists(steps, min_size=STEPS, max_size=STEPS)


@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@given(arms, plans)
def test_hostile_plans_never_become_unsafe_commands(name: str, plan: list[tuple]) -> None:
    drive(name, plan)


@pytest.mark.long
@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_hostile_plans_never_become_unsafe_commands_in_the_long_run(chunk: int) -> None:
    count = LONG_RUN // STEPS // CHUNKS
    run = settings(max_examples=count, derandomize=False, database=None, suppress_health_check=list(HealthCheck))
    seed(chunk)(run(given(arms, plans)(drive)))()
