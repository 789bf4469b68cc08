"""Benchmarks: planning, encoding, nodes, training, bags, motion, and what a model knows of its world: `jepa bench`."""
