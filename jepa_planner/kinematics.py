"""Forward and inverse kinematics of any arm with a URDF (Pinocchio)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pinocchio as pin

from jepa_planner.limits import JointLimits
from jepa_planner.urdf_check import check_urdf

Vector = npt.NDArray[np.float64]
POSE_DIM = 6


@dataclass(frozen=True)
class IkConfig:
    """How inverse kinematics searches.

    position_tolerance (m), rotation_tolerance (rad): when it has converged.
    iterations: steps at most; a control step is a few centimetres and takes three to six.
    damping: least-squares damping, reached in full at a singularity, none at ``damped_condition`` and below.
    posture_gain: share of the way to the posture that the null space goes per iteration.
    max_joint_step: rad per iteration.
    """

    position_tolerance: float = 1e-4
    rotation_tolerance: float = 1e-3
    iterations: int = 60
    damping: float = 0.08
    damped_condition: float = 17.0
    posture_gain: float = 0.05
    max_joint_step: float = 0.2

    def __post_init__(self) -> None:
        values = (self.position_tolerance, self.rotation_tolerance, self.iterations, self.max_joint_step)
        if not min(values) > 0 or not self.damping >= 0 or not 0 <= self.posture_gain < 1:
            raise ValueError(f"tolerances, iterations and steps must be positive, damping not negative: {self}")


@dataclass(frozen=True, eq=False)
class IkResult:
    """Where it ended: positions [joints], errors in m and rad, condition number of the Jacobian."""

    positions: Vector
    converged: bool
    position_error: float
    rotation_error: float
    condition: float


class Kinematics:
    """A chain of joints between a base and a tip link. Not thread-safe: each thread makes its own."""

    def __init__(
        self,
        urdf: str,
        base_link: str,
        tip_link: str,
        joint_names: Sequence[str],
        config: IkConfig | None = None,
    ) -> None:
        """Raises ValueError for text that is no URDF, missing links or joints, joints beside the chain."""
        self._config = config or IkConfig()
        self.joint_names = tuple(joint_names)
        model = _chain(urdf, self.joint_names)
        self._model = model
        self._data = model.createData()
        self._base = _frame(model, base_link)
        self._tip = _frame(model, tip_link)
        self._lower = np.array(model.lowerPositionLimit)
        self._upper = np.array(model.upperPositionLimit)
        self._order = [model.joints[model.getJointId(name)].idx_q for name in self.joint_names]
        self._check_chain()

    @classmethod
    def from_urdf(
        cls,
        urdf: str,
        base_link: str,
        tip_link: str,
        joint_names: Sequence[str],
        config: IkConfig | None = None,
    ) -> Kinematics:
        """The chain of ``joint_names`` from ``base_link`` to ``tip_link``; all other joints stay at zero."""
        return cls(urdf, base_link, tip_link, joint_names, config)

    def limits(self) -> JointLimits:
        """Position and velocity limits of the URDF; infinity for acceleration and jerk, unknown to it."""
        unknown = np.full(len(self.joint_names), np.inf)
        velocity = np.array(self._model.velocityLimit)
        velocity = np.where(velocity > 0, velocity, np.inf)[self._order]
        return JointLimits(
            self.joint_names, self._lower[self._order], self._upper[self._order], velocity, unknown, unknown
        )

    def pose(self, positions: Sequence[float] | Vector) -> Vector:
        """Tip in the base frame at positions [joints]: [x y z (m) roll pitch yaw (extrinsic xyz, rad)]."""
        placement = self._placement(self._ordered(positions))
        return np.concatenate([placement.translation, pin.rpy.matrixToRpy(placement.rotation)])

    def state(self, positions: Sequence[float] | Vector, closedness: float) -> Vector:
        """The proprioceptive state [7]: tip pose and gripper closedness."""
        return np.append(self.pose(positions), closedness)

    def transform(self, positions: Sequence[float] | Vector) -> Vector:
        """Tip in the base frame as a homogeneous matrix [4, 4]."""
        return np.array(self._placement(self._ordered(positions)).homogeneous)

    def jacobian(self, positions: Sequence[float] | Vector) -> Vector:
        """Base-frame Jacobian of the tip [6, joints]: m/s, then rad/s, per rad/s."""
        return self._jacobian(self._ordered(positions))[:, self._order]

    def condition(self, positions: Sequence[float] | Vector) -> float:
        """Condition number of the Jacobian, infinity at a singularity."""
        return _condition(self._singular_values(self._ordered(positions)))

    def ik(
        self,
        pose: Sequence[float] | Vector,
        seed: Sequence[float] | Vector,
        posture: Sequence[float] | Vector | None = None,
        lower: Vector | None = None,
        upper: Vector | None = None,
    ) -> IkResult:
        """Joint positions near ``seed`` [joints] that bring the tip to ``pose`` [6].

        The null space leans toward ``posture`` (default: the seed). ``lower`` and ``upper`` [joints] default
        to the URDF's limits; the seed is first clipped into them. Never raises for an unreachable pose: see
        IkResult.converged.
        """
        low, high = self._bounds(lower, upper)
        target = pin.SE3(pin.rpy.rpyToMatrix(np.asarray(pose[3:POSE_DIM], float)), np.asarray(pose[:3], float))
        positions = np.clip(self._ordered(seed), low, high)
        rest = np.clip(self._ordered(seed if posture is None else posture), low, high)
        for _ in range(self._config.iterations):
            error = self._error(positions, target)
            if self._converged(error):
                break
            positions = self._step(positions, error, rest, low, high)
        return self._result(positions, target)

    def _step(self, positions: Vector, error: Vector, rest: Vector, low: Vector, high: Vector) -> Vector:
        """One damped least-squares step; joints that would leave their range stay, the others solve again."""
        jacobian = self._jacobian(positions)
        free = np.ones(len(positions), dtype=bool)
        pull = self._config.posture_gain * (rest - positions)
        while True:
            step = np.zeros_like(positions)
            step[free] = self._solve(jacobian[:, free], error, pull[free])
            step *= min(1.0, self._config.max_joint_step / max(float(np.max(np.abs(step))), 1e-12))
            outside = free & ((positions + step < low) | (positions + step > high))
            at_bound = outside & ((positions <= low) | (positions >= high))
            if not np.any(at_bound) or np.count_nonzero(free & ~at_bound) == 0:
                return np.clip(positions + step, low, high)
            free &= ~at_bound

    def _solve(self, jacobian: Vector, error: Vector, pull: Vector) -> Vector:
        left, values, right = np.linalg.svd(jacobian, full_matrices=False)
        # At most the error itself is asked for, and close to a singularity less: speed there would be
        # unbounded.
        shortage = 1 - min(1.0, self._config.damped_condition / _condition(values))
        damping = (self._config.damping * shortage) ** 2
        inverse = values / np.maximum(values**2 + damping, 1e-12)
        step = right.T @ (inverse * (left.T @ error))
        return step + pull - right.T @ (right @ pull)

    def _error(self, positions: Vector, target: pin.SE3) -> Vector:
        current = self._placement(positions)
        rotation = pin.log3(target.rotation @ current.rotation.T)
        return np.concatenate([target.translation - current.translation, rotation])

    def _converged(self, error: Vector) -> bool:
        position, rotation = np.linalg.norm(error[:3]), np.linalg.norm(error[3:])
        return bool(position < self._config.position_tolerance and rotation < self._config.rotation_tolerance)

    def _result(self, positions: Vector, target: pin.SE3) -> IkResult:
        error = self._error(positions, target)
        condition = _condition(self._singular_values(positions))
        return IkResult(
            positions[self._order],
            self._converged(error),
            float(np.linalg.norm(error[:3])),
            float(np.linalg.norm(error[3:])),
            condition,
        )

    def _placement(self, ordered: Vector) -> pin.SE3:
        pin.forwardKinematics(self._model, self._data, ordered)
        base = pin.updateFramePlacement(self._model, self._data, self._base)
        return base.actInv(pin.updateFramePlacement(self._model, self._data, self._tip))

    def _jacobian(self, ordered: Vector) -> Vector:
        aligned = pin.ReferenceFrame.LOCAL_WORLD_ALIGNED
        jacobian = pin.computeFrameJacobian(self._model, self._data, ordered, self._tip, aligned)
        to_base = pin.updateFramePlacement(self._model, self._data, self._base).rotation.T
        return np.concatenate([to_base @ jacobian[:3], to_base @ jacobian[3:]])

    def _singular_values(self, ordered: Vector) -> Vector:
        return np.asarray(np.linalg.svd(self._jacobian(ordered), compute_uv=False), dtype=np.float64)

    def _ordered(self, positions: Sequence[float] | Vector) -> Vector:
        values = np.asarray(positions, dtype=np.float64)
        if values.shape != (len(self.joint_names),) or not np.all(np.isfinite(values)):
            raise ValueError(f"expected finite positions of {len(self.joint_names)} joints, got {positions}")
        ordered = np.empty_like(values)
        ordered[self._order] = values
        return ordered

    def _bounds(self, lower: Vector | None, upper: Vector | None) -> tuple[Vector, Vector]:
        low = self._lower if lower is None else np.maximum(self._ordered(lower), self._lower)
        high = self._upper if upper is None else np.minimum(self._ordered(upper), self._upper)
        return low, high

    def _check_chain(self) -> None:
        """Every joint must move the tip relative to the base; others would be driven without any effect."""
        tip = self._model.frames[self._tip]
        # Pinocchio 2, the last that numpy 1.26 of a sourced ROS accepts, has another name for it.
        joint = tip.parentJoint if hasattr(tip, "parentJoint") else tip.parent
        support = set(self._model.supports[joint])
        idle = [name for name in self.joint_names if self._model.getJointId(name) not in support]
        if idle:
            raise ValueError(f"joints {idle} do not move the tip link: check joint_names and tip_link")


def _chain(urdf: str, joint_names: tuple[str, ...]) -> pin.Model:
    check_urdf(urdf)
    try:
        model = pin.buildModelFromXML(urdf)
    except (ValueError, RuntimeError) as error:
        raise ValueError(f"robot_description is not a URDF: {error}") from error
    missing = [name for name in joint_names if not model.existJointName(name)]
    if missing:
        raise ValueError(f"the URDF has no moving joints {missing}; it has {list(model.names)[1:]}")
    locked = [index for index in range(1, model.njoints) if model.names[index] not in joint_names]
    reduced = pin.buildReducedModel(model, locked, pin.neutral(model))
    if reduced.nq != len(joint_names):
        raise ValueError(f"only joints with one bounded position are supported, got {joint_names}")
    return reduced


def _frame(model: pin.Model, name: str) -> int:
    if not model.existFrame(name):
        raise ValueError(f"the URDF has no link {name}; it has {[frame.name for frame in model.frames]}")
    return int(model.getFrameId(name))


def _condition(singular_values: Vector) -> float:
    smallest = float(singular_values[-1])
    return float(singular_values[0]) / smallest if smallest > 1e-9 else float("inf")
