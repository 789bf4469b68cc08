"""The pictures of a bag: which of them can be used, and those of an episode, in order."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from jepa_perception.image_conversion import ImageRefusedError, compressed_to_rgb, image_to_rgb
from jepa_tools.bags.bag_file import BagError, OpenBag, open_bag
from jepa_tools.bags.resampling import NANOSECONDS
from jepa_tools.bags.topics import COMPRESSED_IMAGE
from jepa_tools.recording.bag_writer import STAMP_BYTES, header_stamp

Stamps = NDArray[np.int64]
Picture = NDArray[np.uint8]
Moment = tuple[int, int]
"""When a picture was recorded and when it was taken, ns; by both a message is found again."""


@dataclass(frozen=True)
class CheckedPictures:
    """What came of reading pictures.

    Attributes:
        sizes: height and width, pixels, of each that can be used, in order of recording.
        refused: why each of the others cannot.
    """

    sizes: Mapping[Moment, tuple[int, int]]
    refused: Mapping[Moment, str]

    def same_size(self, path: Path, chosen: Collection[Moment]) -> None:
        """Raises BagError when the size changes among the `chosen` pictures."""
        sizes = {moment: size for moment, size in self.sizes.items() if moment in chosen}
        first = next(iter(sizes.values()), None)
        for (recorded, _), size in sizes.items():
            if first is not None and size != first:
                raise BagError(
                    f"{path}: expected pictures of one size, got {first[1]} x {first[0]} pixels at first and "
                    f"{size[1]} x {size[0]} from {recorded / NANOSECONDS:.3f} s on: cut the bag there"
                )


def check_pictures(bag: OpenBag, topic: str, chosen: Collection[Moment] | None = None) -> CheckedPictures:
    """Decodes pictures of a topic, one at a time: the `chosen` ones, or all.

    Raises:
        BagError: the bag is damaged.
    """
    sizes: dict[Moment, tuple[int, int]] = {}
    refused: dict[Moment, str] = {}
    for _, message_type, recorded, data in bag.raw_messages([topic]):
        moment = _moment(recorded, data)
        if moment is None or (chosen is not None and moment not in chosen):
            continue
        try:
            height, width, _ = _picture(bag, data, message_type).shape
            sizes[moment] = height, width
        except (ImageRefusedError, BagError) as error:
            refused[moment] = f"at {recorded / NANOSECONDS:.3f} s: {error}"
    return CheckedPictures(sizes, refused)


class PicturesOfEpisode:
    """Reads an episode's pictures from the bag, in order, and no more of the bag than it must."""

    def __init__(self, path: Path, topic: str, stamps: Stamps, recorded: Stamps) -> None:
        self._path, self._topic, self._recorded = path, topic, recorded
        self.moments: list[Moment] = list(zip(recorded.tolist(), stamps.tolist(), strict=True))

    def __call__(self) -> Iterator[Picture]:
        """Raises BagError for a picture that cannot be read."""
        position = {moment: place for place, moment in enumerate(self.moments)}
        early: dict[int, Picture] = {}
        place = 0
        with open_bag(self._path) as bag:
            span = int(self._recorded.min()), int(self._recorded.max()) + 1
            for _, message_type, recorded, data in bag.raw_messages([self._topic], *span):
                moment = _moment(recorded, data)
                wanted = None if moment is None else position.pop(moment, None)
                if wanted is not None:
                    early[wanted] = self._read(bag, data, message_type, recorded)
                while place in early:
                    yield early.pop(place)
                    place += 1
        if position:
            raise BagError(f"{self._path}: {len(position)} images that were there before are not any more")

    def _read(self, bag: OpenBag, data: bytes, message_type: str, recorded: int) -> Picture:
        try:
            return _picture(bag, data, message_type)
        except ImageRefusedError as error:
            raise BagError(f"{self._path}, {self._topic} at {recorded / NANOSECONDS:.3f} s: {error}") from error


def _moment(recorded: int, data: bytes) -> Moment | None:
    """None for a message that is too short for a stamp."""
    return (recorded, header_stamp(data) or recorded) if len(data) >= STAMP_BYTES else None


def _picture(bag: OpenBag, data: bytes, message_type: str) -> Picture:
    message = bag.parse(data, message_type)
    return compressed_to_rgb(message) if message_type == COMPRESSED_IMAGE else image_to_rgb(message)
