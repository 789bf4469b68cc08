"""Where the simulated objects are, as markers: RViz shows them, and tools judge by them."""

from __future__ import annotations

from collections.abc import Mapping

from builtin_interfaces.msg import Time
from geometry_msgs.msg import Point, Quaternion
from std_msgs.msg import ColorRGBA
from visualization_msgs.msg import Marker, MarkerArray

from jepa_sim.entities import EntityState
from jepa_sim.robot_description import BASE_LINK
from jepa_sim.scene import BOX, CUP, SceneConfig


def object_markers(states: Mapping[str, EntityState], scene: SceneConfig, stamp: Time) -> MarkerArray:
    """One marker for each of the scene's objects in `states`; its name is the marker's namespace, base frame, m."""
    looks = {
        CUP: (Marker.CYLINDER, (2 * scene.cup_radius, 2 * scene.cup_radius, scene.cup_height), scene.cup_color),
        BOX: (Marker.CUBE, (scene.box_size,) * 3, scene.box_color),
    }
    markers = []
    for name, state in states.items():
        shape, size, color = looks[name]
        marker = Marker(ns=name, type=shape, action=Marker.ADD)
        marker.color = ColorRGBA(**dict(zip("rgba", color, strict=True)))
        marker.header.frame_id, marker.header.stamp = BASE_LINK, stamp
        marker.scale.x, marker.scale.y, marker.scale.z = size
        marker.pose.position = Point(**dict(zip("xyz", state.position, strict=True)))
        marker.pose.orientation = Quaternion(**dict(zip("xyzw", state.orientation, strict=True)))
        markers.append(marker)
    return MarkerArray(markers=markers)
