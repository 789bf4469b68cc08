"""Finds how the camera is turned, from small moves: `jepa calibrate`."""
