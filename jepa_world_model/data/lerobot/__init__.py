"""Datasets in the LeRobot v3 layout, read and written without the `lerobot` library, whose bounds exclude our torch.

`write_dataset` makes a whole dataset, `LeRobotWriter` makes one file of episodes at a time, so that several processes
can share the work, and `LeRobotDataset` reads. Memory stays flat: frames pass one by one.
"""

from jepa_world_model.data.lerobot.layout import (
    ACTION,
    STATE,
    DatasetDescription,
    Episode,
    Feature,
    LeRobotError,
    VideoOptions,
)
from jepa_world_model.data.lerobot.reader import EpisodeRecord, LeRobotDataset
from jepa_world_model.data.lerobot.writer import LeRobotWriter, write_dataset

__all__ = [
    "ACTION",
    "STATE",
    "DatasetDescription",
    "Episode",
    "EpisodeRecord",
    "Feature",
    "LeRobotDataset",
    "LeRobotError",
    "LeRobotWriter",
    "VideoOptions",
    "write_dataset",
]
