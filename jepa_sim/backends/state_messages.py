"""Entity states as ROS messages, and back."""

from __future__ import annotations

from geometry_msgs.msg import Point, Pose, Quaternion, Twist, Vector3

from jepa_sim.entities import EntityState


def pose_message(state: EntityState) -> Pose:
    """Position and orientation of `state`."""
    x, y, z = state.position
    qx, qy, qz, qw = state.orientation
    return Pose(position=Point(x=x, y=y, z=z), orientation=Quaternion(x=qx, y=qy, z=qz, w=qw))


def twist_message(state: EntityState) -> Twist:
    """Velocities of `state`."""
    linear, angular = (Vector3(x=x, y=y, z=z) for x, y, z in (state.linear_velocity, state.angular_velocity))
    return Twist(linear=linear, angular=angular)


def state_from_messages(pose: Pose, twist: Twist | None = None) -> EntityState:
    """The state that a pose and a twist say; no twist means at rest."""
    position, orientation, moving = pose.position, pose.orientation, twist or Twist()
    return EntityState(
        position=(position.x, position.y, position.z),
        orientation=(orientation.x, orientation.y, orientation.z, orientation.w),
        linear_velocity=(moving.linear.x, moving.linear.y, moving.linear.z),
        angular_velocity=(moving.angular.x, moving.angular.y, moving.angular.z),
    )
