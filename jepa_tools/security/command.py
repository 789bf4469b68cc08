"""`jepa security`: writes the policy of a deployment, and says what to do with it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from jepa_common.whole_files import write_whole
from jepa_tools.bring_up.deployments import DEPLOYMENTS, enclave_path
from jepa_tools.security.policy import deployment_access, policy_xml

_NEXT = """\
{path}: {count} enclaves. To turn security on:
  ros2 security create_keystore KEYSTORE
  ros2 security generate_artifacts -k KEYSTORE -p {path}
  export ROS_SECURITY_KEYSTORE=KEYSTORE ROS_SECURITY_ENABLE=true ROS_SECURITY_STRATEGY=Enforce
and start everything in that shell; other programs with `--ros-args --enclave {enclave}`. See docs/security.md.\
"""


@dataclass(frozen=True)
class SecurityConfig:
    """Writes a policy of SROS2 in which each node may do what it needs and nothing else.

    Attributes:
        deployment: Name of a launch file, such as sim, jepa, franka or gazebo.
        out: File to write.
        namespace: Of the nodes, as for the launch file.
        image_topic: As for the launch file; its default when left out. So are the others.
        joint_states_topic: As above.
        joint_trajectory_topic: As above.
        gripper_trajectory_topic: As above.
    """

    deployment: str = "sim"
    out: Path = Path("policy.xml")
    namespace: str = ""
    image_topic: str = ""
    joint_states_topic: str = ""
    joint_trajectory_topic: str = ""
    gripper_trajectory_topic: str = ""


def security(config: SecurityConfig) -> int:
    """Writes the policy.

    Raises:
        ValueError: no such deployment, or a name that cannot be one.
    """
    secured = {name: deployment for name, deployment in DEPLOYMENTS.items() if deployment.nodes}
    if config.deployment not in secured:
        raise ValueError(f"deployment: expected one of {', '.join(secured)}, got {config.deployment!r}")
    deployment = secured[config.deployment]
    topics = {name: getattr(config, name) for name in vars(config) if name.endswith("_topic")}
    given = {name: value for name, value in topics.items() if value}
    bring_up = replace(deployment.defaults(), namespace=config.namespace, **given)
    write_whole(config.out, policy_xml(deployment, bring_up))
    count = len(deployment_access(deployment, bring_up))
    print(_NEXT.format(path=config.out, count=count, enclave=enclave_path("operator", config.namespace)))
    return 0
