"""Starts the nodes of a deployment, as launch files or as processes: all that `launch/` imports."""
