"""Evaluates a model on bags: `ros2 launch jepa_ros bag_eval.launch.py bags:="a b" model:=NAME report:=out`."""

from launch import LaunchDescription

from jepa_tools.bring_up.launch_description import deployment_description


def generate_launch_description() -> LaunchDescription:
    """What `ros2 launch` calls."""
    return deployment_description("bag_eval")
