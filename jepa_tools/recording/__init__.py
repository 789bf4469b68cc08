"""Writes bags without rosbag2: `jepa record`."""
