"""Adds bodies to a scene that is built already."""

from __future__ import annotations

import mujoco

from jepa_sim.entities import Body
from jepa_sim.scene import BOX

_SHAPES = {
    "box": mujoco.mjtGeom.mjGEOM_BOX,
    "cylinder": mujoco.mjtGeom.mjGEOM_CYLINDER,
    "sphere": mujoco.mjtGeom.mjGEOM_SPHERE,
}


def add_spawned_body(spec: mujoco.MjSpec, name: str, body: Body) -> None:
    """Adds a free body called `name`, which meets the same things as the scene's box; the scene is compiled after."""
    like = spec.body(BOX).geoms[0]
    added = spec.worldbody.add_body(name=name)
    added.add_freejoint(name=f"{name}_joint")
    added.add_geom(
        type=_SHAPES[body.shape],
        size=body.half_extents,
        rgba=body.color,
        mass=body.mass,
        contype=like.contype,
        conaffinity=like.conaffinity,
        condim=like.condim,
        friction=like.friction,
        group=like.group,
    )
