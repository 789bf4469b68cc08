"""Evaluates a world model on recorded bags, without ROS, simulator or GPU: `jepa bag-eval`."""
