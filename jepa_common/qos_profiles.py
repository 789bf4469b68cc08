"""Quality of service of this package's topics, in one place because both ends of a topic have to agree.

Every publisher and subscription passes `OVERRIDABLE` as `qos_overriding_options`, so that a YAML file can
change the profile: `qos_overrides./image.subscription.reliability: reliable`.
"""

from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSPolicyKind, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions

OVERRIDABLE = QoSOverridingOptions(
    (QoSPolicyKind.HISTORY, QoSPolicyKind.DEPTH, QoSPolicyKind.RELIABILITY, QoSPolicyKind.DURABILITY)
)


def _keep_last(depth: int, reliability: ReliabilityPolicy, durability: DurabilityPolicy) -> QoSProfile:
    return QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=depth, reliability=reliability, durability=durability)


def camera_qos() -> QoSProfile:
    """Camera images: only the newest matters, and a lost one is better than a late one."""
    return _keep_last(1, ReliabilityPolicy.BEST_EFFORT, DurabilityPolicy.VOLATILE)


def joint_states_qos() -> QoSProfile:
    """Joint states: best effort matches every driver, reliable ones included."""
    return _keep_last(10, ReliabilityPolicy.BEST_EFFORT, DurabilityPolicy.VOLATILE)


def latched_qos(depth: int = 1) -> QoSProfile:
    """Goals, their latents and the robot description: sent once, also reaches who comes later.

    A reader that must not miss one of several sent in a row asks for more `depth`.
    """
    return _keep_last(depth, ReliabilityPolicy.RELIABLE, DurabilityPolicy.TRANSIENT_LOCAL)


def latest_qos() -> QoSProfile:
    """Latents, commands and status: none is lost on the way, an old one does not wait for a slow reader."""
    return _keep_last(1, ReliabilityPolicy.RELIABLE, DurabilityPolicy.VOLATILE)
