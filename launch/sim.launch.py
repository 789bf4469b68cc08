"""The simulated table with the encoder, predictor and planner: `ros2 launch jepa_ros sim.launch.py`.

`ros2 launch jepa_ros sim.launch.py --show-args` lists the arguments. Publish a picture on `goal_image`, or send a
`reach_goal` action, and the arm goes there.
"""

from launch import LaunchDescription

from jepa_tools.bring_up.launch_description import deployment_description


def generate_launch_description() -> LaunchDescription:
    """What `ros2 launch` calls."""
    return deployment_description("sim")
