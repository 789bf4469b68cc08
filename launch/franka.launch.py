"""A Franka Research 3 through franka_ros2, its trajectory controller, and the encoder, predictor and planner.

`ros2 launch jepa_ros franka.launch.py robot_ip:=172.16.0.2 image_topic:=/camera/color/image_raw dry_run:=true`

Needs franka_bringup and ros2_controllers. The camera's driver is yours to start. Start with `dry_run:=true`: everything
is planned and shown, nothing moves. `--show-args` lists the arguments.
"""

from launch import LaunchDescription

from jepa_tools.bring_up.launch_description import deployment_description


def generate_launch_description() -> LaunchDescription:
    """What `ros2 launch` calls."""
    return deployment_description("franka")
