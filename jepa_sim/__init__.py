"""A simulated Franka at a table: MuJoCo scene, controllers, tasks, data collection and the ``sim`` node."""

from jepa_sim.graphics import choose_rendering_backend

# MuJoCo reads MUJOCO_GL once, when it is imported, so the choice is made before any module of this package does that.
choose_rendering_backend()
