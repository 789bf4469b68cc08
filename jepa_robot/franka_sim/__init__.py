"""A simulated control box: the package franka-sim, which enforces FCI's limits, in an environment of its own."""
