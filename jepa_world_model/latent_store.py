"""The latents that requests name by their stamps."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


class UnknownStampError(LookupError):
    """No latent of that stamp is held; the message says which are, and `store` in which store."""

    def __init__(self, store: str, message: str) -> None:
        """`store` is the name of the store that was asked."""
        super().__init__(message)
        self.store = store


@dataclass(frozen=True)
class StoredLatent:
    """One frame's latent.

    Attributes:
        stamp: of the source image, ns.
        latent: float32 ``[tokens, dim]``.
        frame_id: coordinate frame of the camera.
    """

    stamp: int
    latent: NDArray[np.float32]
    frame_id: str = ""


class LatentStore:
    """Keeps the last `capacity` latents that came, by stamp. Safe to use from any thread."""

    def __init__(self, capacity: int, name: str = "latent") -> None:
        """`name` is what the error message calls an entry."""
        self._capacity, self._name = capacity, name
        self._lock = threading.Lock()
        self._entries: OrderedDict[int, StoredLatent] = OrderedDict()

    def add(self, entry: StoredLatent) -> None:
        """Adds an entry; one of the same stamp is replaced, and the one that came first makes room."""
        with self._lock:
            self._entries.pop(entry.stamp, None)
            self._entries[entry.stamp] = entry
            if len(self._entries) > self._capacity:
                self._entries.popitem(last=False)

    def get(self, stamp: int) -> StoredLatent:
        """The entry of that stamp.

        Raises:
            UnknownStampError: it never came, or newer ones have taken its place.
        """
        with self._lock:
            entry = self._entries.get(stamp)
            if entry is not None:
                return entry
            message = f"{self._name}: there is none of stamp {_seconds(stamp)}; {self._held()}"
            raise UnknownStampError(self._name, message)

    def _held(self) -> str:
        if not self._entries:
            return "none has come yet: is the encoder active, and does it get images?"
        oldest, newest = next(iter(self._entries)), next(reversed(self._entries))
        return f"the {len(self._entries)} held came with stamps {_seconds(oldest)} to {_seconds(newest)}"

    def __len__(self) -> int:
        with self._lock:
            return len(self._entries)


def _seconds(stamp: int) -> str:
    """A stamp in exact seconds, as `ros2 topic echo` lets one compare it."""
    return f"{stamp // 1_000_000_000}.{stamp % 1_000_000_000:09d}"
