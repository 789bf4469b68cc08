"""Records all topics to a bag until Ctrl-C: `ros2 launch jepa_ros record.launch.py record:=my_bag`."""

from launch import LaunchDescription

from jepa_tools.bring_up.launch_description import deployment_description


def generate_launch_description() -> LaunchDescription:
    """What `ros2 launch` calls."""
    return deployment_description("record")
