"""The encoder, predictor and planner for an arm whose driver, camera and controllers run already.

`ros2 launch jepa_ros jepa.launch.py robot_type:=fr3 image_topic:=/camera/color/image_raw \
    joint_trajectory_topic:=/arm_controller/joint_trajectory dry_run:=true`

`--show-args` lists the arguments. Start with `dry_run:=true`: everything is planned and shown, nothing moves.
"""

from launch import LaunchDescription

from jepa_tools.bring_up.launch_description import deployment_description


def generate_launch_description() -> LaunchDescription:
    """What `ros2 launch` calls."""
    return deployment_description("jepa")
