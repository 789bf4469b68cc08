"""Reads recorded bags as episodes for the world model, without ROS: `read_bag` is the way in."""

from jepa_tools.bags.bag_file import BagError, find_bags
from jepa_tools.bags.episodes import READER_VERSION, BagEpisode, RecordedBag, read_bag
from jepa_tools.bags.settings import BagSettings, load_settings

__all__ = [
    "READER_VERSION",
    "BagEpisode",
    "BagError",
    "BagSettings",
    "RecordedBag",
    "find_bags",
    "load_settings",
    "read_bag",
]
