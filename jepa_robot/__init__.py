"""Real arms: a Franka through libfranka, without franka_ros2."""
