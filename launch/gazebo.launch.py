"""Gazebo (gz sim) with the table and the arm, and the encoder, predictor and planner.

`ros2 launch jepa_ros gazebo.launch.py` needs ros_gz_sim, ros_gz_bridge, gz_ros2_control, ros2_controllers,
robot_state_publisher and xacro. `gui:=false` runs without a window; `--show-args` lists the arguments.
"""

from launch import LaunchDescription

from jepa_tools.bring_up.launch_description import deployment_description


def generate_launch_description() -> LaunchDescription:
    """What `ros2 launch` calls."""
    return deployment_description("gazebo")
