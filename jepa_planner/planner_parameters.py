"""Parameters of the planner node, and the library's configurations that they describe."""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

import numpy as np

from jepa_common.gripper_description import GripperDescription
from jepa_common.parameters import parameter
from jepa_common.robots import FER, ROBOT_TYPES, ROBOTS, URDF_ONLY
from jepa_planner.arm_motion import ArmMotionConfig
from jepa_planner.calibration_moves import MoveConfig
from jepa_planner.calibration_run import CalibrationConfig
from jepa_planner.camera_calibration import CalibrationRequirements
from jepa_planner.control_loop import ControlLoopConfig
from jepa_planner.goals import GoalConfig
from jepa_planner.gripper import GRIPPER_MODES, GripperConfig
from jepa_planner.limits import (
    LONGEST_STEP,
    LONGEST_STEP_HOLDING,
    Envelope,
    JointLimits,
    published_limits,
)
from jepa_planner.mpc import MpcConfig
from jepa_planner.safety import Box, SafetyConfig, boxes_from_numbers
from jepa_planner.solvers import SOLVER_NAMES, SolverConfig
from jepa_world_model.model_card import AnyDistance, ModelCard

_NEXT_GOAL = "; a change counts from the next goal on"
# m; no finger of a table-top arm's gripper slides further.
_LONGEST_FINGER_TRAVEL = 0.2


@dataclass(frozen=True)
class ArmParameters:
    """Which chain of the robot description is driven."""

    base_link: str = parameter(FER.base_link, "Link in whose frame states, actions and the workspace are")
    tip_link: str = parameter(FER.tip_link, "Link whose pose is the state: between the fingertips")
    joints: tuple[str, ...] = parameter(FER.joints, "Arm joints in order, as in the URDF and joint_states")
    finger_joints: tuple[str, ...] = parameter(FER.hand.joints, "Finger joints; empty: no gripper")
    finger_open: float = parameter(
        FER.hand.open, "Mean position of the finger joints when the gripper is open, m or rad"
    )
    finger_closed: float = parameter(FER.hand.closed, "The same when it is closed; may be the larger one")
    finger_reach: float = parameter(
        0.0,
        "From the tool's centre to an open fingertip, m; 0: as far as finger joints in m travel",
        minimum=0.0,
        maximum=0.5,
    )
    posture: tuple[float, ...] = parameter((), "Joint positions that spare motion leans to, rad; empty: the first seen")

    def gripper(self) -> GripperDescription:
        """What the finger joints tell. Raises ValueError for ends that tell nothing."""
        try:
            return GripperDescription(self.finger_joints, self.finger_open, self.finger_closed)
        except ValueError as error:
            raise ValueError(f"arm.finger_joints, arm.finger_open, arm.finger_closed: {error}") from error

    def fingertip_reach(self) -> float:
        """How far an open fingertip is from the tool's centre, m. Raises ValueError when nothing tells."""
        travel = self.gripper().travel
        if self.finger_reach:
            return self.finger_reach
        if travel > _LONGEST_FINGER_TRAVEL:
            raise ValueError(
                f"arm.finger_reach: finger joints that travel {travel:g} turn, or count something else than m: "
                "give the distance of an open fingertip from the tool's centre, m"
            )
        return travel


@dataclass(frozen=True)
class LimitParameters:
    """Joint limits: of the URDF, of the robot's table and of these lists the strictest counts."""

    velocity_scale: float = parameter(1.0, "Share of the velocity limits to use", minimum=0.01, maximum=1.0)
    acceleration_scale: float = parameter(0.25, "Share of the acceleration limits to use", minimum=0.01, maximum=1.0)
    max_jerk: float = parameter(300.0, "Largest jerk, rad/s^3", minimum=1.0, maximum=10000.0)
    position_margin: float = parameter(0.05, "Distance kept to the position limits, rad", minimum=0.0, maximum=0.5)
    stop_seconds: float = parameter(0.24, "Speeds allow a stop within this time, s", minimum=0.05, maximum=2.0)
    lower: tuple[float, ...] = parameter((), "Lowest positions, rad; empty: no further limit")
    upper: tuple[float, ...] = parameter((), "Highest positions, rad; empty: no further limit")
    velocity: tuple[float, ...] = parameter((), "Highest velocities, rad/s; empty: no further limit")
    acceleration: tuple[float, ...] = parameter((), "Highest accelerations, rad/s^2; empty: no further limit")
    jerk: tuple[float, ...] = parameter((), "Highest jerks, rad/s^3; empty: no further limit")

    def apply(self, urdf_limits: JointLimits, robot_type: str) -> JointLimits:
        """What the arm is driven with. Raises ValueError for lists of another length or unusable limits."""
        limits = urdf_limits.stricter(self._listed(urdf_limits.names))
        if robot_type != URDF_ONLY:
            limits = limits.stricter(published_limits(ROBOTS.load(robot_type), urdf_limits.names))
        envelope = Envelope(
            self.velocity_scale, self.acceleration_scale, self.max_jerk, self.position_margin, self.stop_seconds
        )
        return envelope.apply(limits)

    def _listed(self, names: tuple[str, ...]) -> JointLimits:
        unlimited = np.full(len(names), np.inf)
        values = (self.lower, self.upper, self.velocity, self.acceleration, self.jerk)
        defaults = (-unlimited, unlimited, unlimited, unlimited, unlimited)
        rows = [np.array(listed) if listed else default for listed, default in zip(values, defaults, strict=True)]
        return JointLimits(names, rows[0], rows[1], rows[2], rows[3], rows[4])


@dataclass(frozen=True)
class MotionParameters:
    """How actions become trajectories."""

    rate: float = parameter(5.0, "Plans per second at most, Hz", minimum=0.5, maximum=30.0)
    action_seconds: float = parameter(0.25, "Time that one action takes at least, s", minimum=0.02, maximum=5.0)
    lead_seconds: float = parameter(0.04, "A trajectory starts so far ahead of now, s", minimum=0.005, maximum=1.0)
    first_lead_seconds: float = parameter(
        0.3, "The same for the first one of an arm at rest, s", minimum=0.005, maximum=5.0
    )
    max_step_holding: float = parameter(
        LONGEST_STEP_HOLDING,
        "Longest translation of an action while the gripper is commanded shut, m; 0: as others",
        minimum=0.0,
    )
    gripper_seconds: float = parameter(0.5, "Time that opening or closing takes, s", minimum=0.2, maximum=5.0)

    def config(self, arm: ArmParameters) -> ArmMotionConfig:
        """The library's configuration."""
        return ArmMotionConfig(
            lead_seconds=self.lead_seconds,
            first_lead_seconds=self.first_lead_seconds,
            action_seconds=self.action_seconds,
            posture=arm.posture,
        )


@dataclass(frozen=True)
class SafetyParameters:
    """Bounds of the safety filter."""

    workspace: tuple[float, ...] = parameter(
        (0.25, -0.40, 0.0, 0.75, 0.40, 0.60), "Low and high corner of where the tool may be, m"
    )
    keep_out: tuple[float, ...] = parameter((), "Boxes that the gripper may not enter: six numbers each, as workspace")
    finger_floor: float = parameter(0.005, "Lowest height of a fingertip, m", minimum=-1.0, maximum=2.0)
    hand_length: float = parameter(0.10, "From the fingertips to the hand, m", minimum=0.0, maximum=0.5)
    max_step: float = parameter(LONGEST_STEP, "Longest translation of an action, m", minimum=0.001, maximum=0.5)
    max_rotation: float = parameter(0.5, "Largest rotation of an action, rad", minimum=0.0, maximum=3.0)
    max_tool_speed: float = parameter(0.6, "Highest speed of the tool, m/s", minimum=0.01, maximum=3.0)
    max_image_age: float = parameter(0.5, "Oldest camera image to act on, s", minimum=0.01, maximum=10.0)
    max_latent_age: float = parameter(0.5, "Longest time since a latent came, s", minimum=0.01, maximum=10.0)
    max_joint_state_age: float = parameter(0.1, "Oldest joint state to act on, s", minimum=0.01, maximum=10.0)
    single_publishers: tuple[str, ...] = parameter(
        ("joint_trajectory", "latent", "joint_states", "robot_description", "/clock"),
        "Topics on which one node may publish: a second one holds the arm, and so does a second predictor; empty: none "
        "is watched",
    )
    max_tracking_error: float = parameter(
        0.15, "Largest distance of a joint from where it was commanded, rad", minimum=0.005, maximum=1.0
    )
    max_energy: float = parameter(0.0, "Energy that may not last; 0: any", minimum=0.0)
    max_surprise: float = parameter(0.0, "Surprise that may not last; 0: any", minimum=0.0)
    persistence: int = parameter(5, "Steps that energy or surprise may be too high", minimum=1, maximum=1000)
    max_refusals: int = parameter(12, "Refused commands in a row that abort a goal", minimum=1, maximum=1000)
    recovery_seconds: float = parameter(
        0.3, "Data that were too old have to be in order for so long first, s", minimum=0.0, maximum=10.0
    )
    ramp_seconds: float = parameter(1.0, "Time in which authority grows after activation, s", minimum=0.0, maximum=60.0)
    initial_authority: float = parameter(0.2, "Share of speed and step size at first", minimum=0.01, maximum=1.0)
    slow_condition: float = parameter(17.0, "Condition number from which the arm slows down", minimum=1.0)
    stop_condition: float = parameter(30.0, "Condition number beyond which the arm does not go", minimum=1.0)

    def config(self, arm: ArmParameters) -> SafetyConfig:
        """The library's configuration. Raises ValueError for senseless boxes or bounds."""
        workspace = boxes_from_numbers(self.workspace)
        if len(workspace) != 1:
            raise ValueError(f"safety.workspace: expected six numbers (low corner, high corner), got {self.workspace}")
        return SafetyConfig(
            max_step=self.max_step,
            max_rotation=self.max_rotation,
            workspace=Box(workspace[0].low, workspace[0].high),
            keep_out=boxes_from_numbers(self.keep_out),
            finger_floor=self.finger_floor,
            finger_travel=arm.fingertip_reach(),
            hand_length=self.hand_length,
            max_tool_speed=self.max_tool_speed,
            max_image_age=self.max_image_age,
            max_latent_age=self.max_latent_age,
            max_joint_state_age=self.max_joint_state_age,
            max_tracking_error=self.max_tracking_error,
            max_energy=self.max_energy or float("inf"),
            max_surprise=self.max_surprise or float("inf"),
            persistence=self.persistence,
            max_refusals=self.max_refusals,
            recovery_seconds=self.recovery_seconds,
            ramp_seconds=self.ramp_seconds,
            initial_authority=self.initial_authority,
            slow_condition=self.slow_condition,
            stop_condition=self.stop_condition,
        )


@dataclass(frozen=True)
class SolverParameters:
    """How plans are searched for."""

    name: str = parameter(
        "cem",
        "Search" + _NEXT_GOAL + " (the gradient solvers need the model in their own process: jepa sim-eval)",
        choices=tuple(name for name in SOLVER_NAMES if "gradient" not in name),
        live=True,
    )
    samples: int = parameter(64, "Candidates per iteration" + _NEXT_GOAL, minimum=2, maximum=8192, live=True)
    iterations: int = parameter(3, "Iterations per plan" + _NEXT_GOAL, minimum=1, maximum=100, live=True)
    horizon: int = parameter(1, "Actions per candidate" + _NEXT_GOAL, minimum=1, maximum=16, live=True)
    elites: int = parameter(8, "Candidates that the next iteration is made of", minimum=1, maximum=8192, live=True)
    momentum_mean: float = parameter(0.0, "Share of the old mean that is kept", minimum=0.0, maximum=0.99, live=True)
    momentum_std: float = parameter(0.0, "Share of the old spread that is kept", minimum=0.0, maximum=0.99, live=True)
    minimum_std: float = parameter(0.0, "Least spread, as a share of the first", minimum=0.0, maximum=0.99, live=True)
    temperature: float = parameter(0.3, "MPPI: temperature in spreads of energy", minimum=0.001, live=True)
    noise_exponent: float = parameter(2.0, "iCEM: colour of the noise over time", minimum=0.0, maximum=5.0, live=True)
    kept_fraction: float = parameter(0.3, "iCEM: share of elites that is kept", minimum=0.0, maximum=1.0, live=True)
    max_step: float = parameter(
        0.0, "Longest translation to consider, m; 0: the model card's" + _NEXT_GOAL, minimum=0.0, maximum=0.5, live=True
    )
    max_rotation: float = parameter(0.0, "Largest rotation per axis, rad; 0: hold", minimum=0.0, maximum=1.0, live=True)
    max_yaw: float = parameter(
        0.0, "Largest turn about the vertical, rad, where that is more than max_rotation", minimum=0.0, maximum=1.0,
        live=True,
    )  # fmt: skip
    max_gripper: float = parameter(
        0.0,
        "Largest change of closedness in candidates; 0: plans are made with the fingers as they are" + _NEXT_GOAL,
        minimum=0.0,
        maximum=1.0,
        live=True,
    )
    seed: int = parameter(0, "Seed of the search", minimum=0)
    distance: str = parameter(
        "", "How energies compare latents; empty: the card's",
        choices=get_args(AnyDistance),
    )  # fmt: skip
    sum_over_horizon: bool = parameter(False, "Sum energies over the horizon instead of taking the last step's")
    effort_weight: float = parameter(0.0, "Energy per squared action at its bounds", minimum=0.0, live=True)
    plan_seconds: float = parameter(0.18, "Time for one plan, s; 0: as long as it takes", minimum=0.0, live=True)
    score_timeout: float = parameter(2.0, "Longest wait for the predictor, s", minimum=0.05, maximum=120.0)

    def solver_config(self, card: ModelCard) -> SolverConfig:
        """The library's configuration of the search."""
        return SolverConfig(
            solver=self.name,
            samples=self.samples,
            iterations=self.iterations,
            horizon=self.horizon,
            elites=min(self.elites, self.samples),
            momentum_mean=self.momentum_mean,
            momentum_std=self.momentum_std,
            minimum_std=self.minimum_std,
            temperature=self.temperature,
            noise_exponent=self.noise_exponent,
            kept_fraction=self.kept_fraction,
            max_step=self.max_step or card.max_step_m,
            max_rotation=self.max_rotation,
            max_yaw=self.max_yaw,
            max_gripper=self.max_gripper,
            seed=self.seed,
        )


@dataclass(frozen=True)
class GoalParameters:
    """When a goal is over."""

    tolerance: float = parameter(
        0.0, "Energy below which a goal is reached; 0: the model card's" + _NEXT_GOAL, minimum=0.0, live=True
    )
    tolerance_m: float = parameter(
        0.0, "The same as a distance, m, for a calibrated model; counts before tolerance", minimum=0.0, live=True
    )
    plateau_steps: int = parameter(
        6, "Steps without a lower energy after which it counts as reached; 0: never" + _NEXT_GOAL, minimum=0, live=True
    )
    plateau_noise: float = parameter(0.02, "Relative change of energy that is noise", minimum=0.0, live=True)
    plateau_energy: float = parameter(0.0, "Highest energy of such a plateau; 0: any", minimum=0.0, live=True)
    max_steps: int = parameter(60, "Steps per goal" + _NEXT_GOAL, minimum=1, maximum=100000, live=True)
    advance_when_spent: bool = parameter(True, "Go on to the next sub-goal when one's steps are spent", live=True)
    encode_timeout: float = parameter(5.0, "Longest wait for a goal image's latent, s", minimum=0.1, maximum=120.0)
    give_up_seconds: float = parameter(15.0, "Longest time without a step, s", minimum=0.1, maximum=3600.0)
    gripper_steps: int = parameter(
        3, "Steps in which the arm rests when a sub-goal moves the gripper", minimum=0, maximum=1000, live=True
    )

    def config(self, card: ModelCard, energy: float = 0.0, distance_m: float = 0.0) -> GoalConfig:
        """The library's configuration; a tolerance that a goal brings itself counts before the parameters, 0 is none.

        Raises ValueError when a distance is asked for and the model is not calibrated, or for a negative tolerance.
        """
        if not (energy >= 0 and distance_m >= 0):
            raise ValueError(f"expected tolerances of 0 or more, got {energy} and {distance_m} m")
        tolerance = _energy_at(distance_m, card) if distance_m else energy or self._tolerance(card)
        return GoalConfig(
            tolerance=tolerance,
            plateau_steps=self.plateau_steps,
            plateau_noise=self.plateau_noise,
            plateau_energy=self.plateau_energy or float("inf"),
            max_steps=self.max_steps,
            advance_when_spent=self.advance_when_spent,
            gripper_steps=self.gripper_steps,
        )

    def _tolerance(self, card: ModelCard) -> float:
        if self.tolerance_m:
            return _energy_at(self.tolerance_m, card)
        return self.tolerance or card.reach_energy or 0.0


def _energy_at(distance_m: float, card: ModelCard) -> float:
    """The energy that ``card`` says belongs to a distance of the tool, m. Raises ValueError."""
    if card.reach_energy is None or card.energy_per_meter is None or card.reach_tolerance_m is None:
        raise ValueError(
            f"tolerance_m: the energies of {card.name} are not calibrated to distances; give a tolerance in energy, or "
            "make a checkpoint with jepa train, which calibrates"
        )
    return max(card.reach_energy + (distance_m - card.reach_tolerance_m) * card.energy_per_meter, 1e-9)


_GRIPPER = GripperConfig()


@dataclass(frozen=True)
class GraspParameters:
    """Who moves the gripper, and when a planned one closes and opens."""

    mode: str = parameter(
        _GRIPPER.mode,
        "Who moves the gripper where a goal brings no command for it: nobody (scheduled), or the planner",
        choices=GRIPPER_MODES,
    )
    close_change: float = parameter(
        _GRIPPER.close_change,
        "By how much the fingers of the goal picture are further closed, beyond which it closes",
        minimum=0.01,
        maximum=1.0,
        live=True,
    )
    open_change: float = parameter(
        _GRIPPER.open_change,
        "By how much they are further open, beyond which it opens",
        minimum=0.01,
        maximum=1.0,
        live=True,
    )
    least_gain: float = parameter(
        _GRIPPER.least_gain,
        "Share of the energy that this has to save, where the model cannot tell it from the pictures",
        minimum=0.0,
        maximum=0.99,
        live=True,
    )
    near: float = parameter(
        _GRIPPER.near, "Longest planned translation with which it moves, m", minimum=0.001, maximum=1.0, live=True
    )
    plans: int = parameter(
        _GRIPPER.plans,
        "Plans near a goal before which fingers let go of nothing, and no goal is reached",
        minimum=1,
        maximum=100,
        live=True,
    )
    rest_steps: int = parameter(
        _GRIPPER.rest_steps, "Steps that the arm waits at most for moving fingers", minimum=2, maximum=100, live=True
    )
    dwell_steps: int = parameter(
        _GRIPPER.dwell_steps, "Steps between two changes of mind", minimum=0, maximum=1000, live=True
    )

    def config(self) -> GripperConfig:
        """The library's configuration."""
        return GripperConfig(
            mode=self.mode,  # type: ignore[arg-type] # among the choices
            least_gain=self.least_gain,
            close_change=self.close_change,
            open_change=self.open_change,
            near=self.near,
            plans=self.plans,
            rest_steps=self.rest_steps,
            dwell_steps=self.dwell_steps,
        )


@dataclass(frozen=True)
class CalibrationParameters:
    """The moves of `~/calibrate`."""

    moves: int = parameter(32, "Moves in random directions", minimum=12, maximum=1000)
    steps: int = parameter(3, "Actions per move", minimum=1, maximum=20)
    step: float = parameter(0.05, "Translation of one action, m", minimum=0.005, maximum=0.2)
    margin: float = parameter(0.08, "Distance kept to the borders of the workspace, m", minimum=0.0, maximum=0.5)
    explained: float = parameter(0.1, "Least share of a move's change that the model explains", maximum=1.0)
    uncertainty: float = parameter(20.0, "Largest standard error, degrees", minimum=0.1, maximum=180.0)

    def config(self, workspace: Box, model: str) -> CalibrationConfig:
        """The library's configuration. Raises ValueError when the margin leaves nothing of the workspace."""
        low, high = np.add(workspace.low, self.margin), np.subtract(workspace.high, self.margin)
        if not np.all(low < high):
            raise ValueError(f"calibration.margin: {self.margin} m leave nothing of the workspace {workspace}")
        moves = MoveConfig(moves=self.moves, steps=self.steps, step=self.step)
        requirements = CalibrationRequirements(
            moves=min(CalibrationRequirements.moves, self.moves),
            explained=self.explained,
            uncertainty=self.uncertainty,
        )
        corners = [(float(x), float(y), float(z)) for x, y, z in (low, high)]
        return CalibrationConfig(moves, requirements, corners[0], corners[1], model)


@dataclass(frozen=True)
class PlannerParameters:
    """Parameters of the planner node."""

    model: str = parameter("franka-table-small", "Checkpoint whose latents are planned with: a path or a name")
    robot_type: str = parameter("fer", "Arm: its table of limits; urdf: only the URDF's and those listed",
                                choices=ROBOT_TYPES)  # fmt: skip
    dry_run: bool = parameter(False, "Plan and show, but send nothing to the arm or the gripper")
    markers: bool = parameter(True, "Publish RViz markers while someone looks", live=True)
    camera_calibration: str = parameter("", "File that ~/calibrate writes and plans are turned by; empty: none")
    arm: ArmParameters = ArmParameters()
    limits: LimitParameters = LimitParameters()
    motion: MotionParameters = MotionParameters()
    safety: SafetyParameters = SafetyParameters()
    solver: SolverParameters = SolverParameters()
    goal: GoalParameters = GoalParameters()
    grasp: GraspParameters = GraspParameters()
    calibration: CalibrationParameters = CalibrationParameters()

    def loop_config(self, card: ModelCard) -> ControlLoopConfig:
        """How the control loop runs with the model of ``card``."""
        return ControlLoopConfig(
            step_seconds=1 / self.motion.rate,
            context_frames=card.context_frames,
            context_seconds=1 / card.control_rate_hz,
            give_up_seconds=self.goal.give_up_seconds,
            dry_run=self.dry_run,
        )

    def mpc_config(self, card: ModelCard) -> MpcConfig:
        """How one action is planned with the model of ``card``."""
        return MpcConfig(
            plan_seconds=self.solver.plan_seconds,
            effort_weight=self.solver.effort_weight,
            energy_per_meter=card.energy_per_meter or 0.0,
            longest_step=self.safety.max_step,
            longest_step_holding=self.motion.max_step_holding,
            gripper=self.grasp.config(),
        )
