"""Measures success on the simulated table, in process or through the nodes: `jepa sim-eval`."""
