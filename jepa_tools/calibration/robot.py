"""`jepa calibrate` at a running planner: asks its service and says what came of it."""

from __future__ import annotations

import sys

from std_srvs.srv import Trigger

from jepa_tools.operation.ros_client import RosClient


def calibrate_robot(namespace: str, timeout: float) -> int:
    """Lets the planner of ``namespace`` calibrate; returns 1 when it refused.

    Raises:
        jepa_tools.operation.ros_client.RosTimeoutError: no planner there, or none that answered in ``timeout`` seconds.
    """
    prefix = f"/{namespace.strip('/')}" if namespace.strip("/") else ""
    print("the arm moves in small random steps; `ros2 service call /planner/stop std_srvs/srv/Trigger` ends it")
    with RosClient("jepa_calibrate") as client:
        response = client.call(Trigger, f"{prefix}/planner/calibrate", Trigger.Request(), timeout)
    print(response.message, file=sys.stdout if response.success else sys.stderr)
    return 0 if response.success else 1
