"""Encoder and predictor networks, checkpoints, imagined rollouts and their energies, training."""
