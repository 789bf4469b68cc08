"""The arm that the planner's tests move."""

from __future__ import annotations

import numpy as np

from jepa_planner.kinematics import Kinematics
from jepa_planner.limits import Envelope, JointLimits, fer_limits
from jepa_sim.robot_description import ARM_JOINTS, BASE_LINK, HOME_POSITIONS, TCP_LINK, franka_panda

HOME = np.array(HOME_POSITIONS)
URDF = franka_panda().to_urdf()


def kinematics() -> Kinematics:
    """The Panda from its base to its tool centre."""
    return Kinematics.from_urdf(URDF, BASE_LINK, TCP_LINK, ARM_JOINTS)


def cautious_limits() -> JointLimits:
    """What the nodes use by default: URDF and table, whichever is stricter, inside the envelope."""
    return Envelope().apply(kinematics().limits().stricter(fer_limits(ARM_JOINTS)))
