"""Turns the images of a goal sequence into stamps: sends each to the encoder and waits for its latent."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

MessageT = TypeVar("MessageT")


@dataclass(frozen=True)
class GoalImage(Generic[MessageT]):
    """One sub-goal that the encoder (or, for a ready latent, the predictor) still has to see."""

    message: MessageT
    max_steps: int | None = None
    gripper: float | None = None


class GoalImages(Generic[MessageT]):
    """Sends sub-goals one after the other, each when the latent of the one before has come. Not thread-safe.

    One at a time, because the goal topics keep one message only: a burst would lose all but the last.
    """

    def __init__(
        self,
        images: Sequence[GoalImage[MessageT]],
        send: Callable[[MessageT, int], None],
        first_stamp: int,
        timeout: float,
    ) -> None:
        """``send(message, stamp)`` publishes. Stamps count up from ``first_stamp``, ns. ``timeout``: s per image."""
        self._images = tuple(images)
        self._send = send
        self._first_stamp = first_stamp
        self._timeout = timeout
        self._arrived = 0
        self._sent_at: float | None = None

    @property
    def stamps(self) -> tuple[int, ...]:
        """The name of each sub-goal's latent, ns."""
        return tuple(range(self._first_stamp, self._first_stamp + len(self._images)))

    @property
    def images(self) -> tuple[GoalImage[MessageT], ...]:
        """The sub-goals."""
        return self._images

    @property
    def complete(self) -> bool:
        """Whether all latents have come."""
        return self._arrived == len(self._images)

    @property
    def waits_for(self) -> str:
        """What is missing, for people."""
        return f"waits for the encoder: goal image {self._arrived + 1} of {len(self._images)}"

    def tick(self, now: float) -> str:
        """Sends the next image when it is its turn; returns an error for people when a latent is overdue."""
        if self.complete:
            return ""
        if self._sent_at is None:
            self._sent_at = now
            self._send(self._images[self._arrived].message, self.stamps[self._arrived])
        if now - self._sent_at > self._timeout:
            return (
                f"goal image {self._arrived + 1} of {len(self._images)} got no latent within {self._timeout:g} s: "
                "is the encoder active, and is the image one that it reads (see its log)?"
            )
        return ""

    def latent_came(self, stamp: int) -> bool:
        """Notes a goal latent; false when it is not one of these."""
        if stamp not in self.stamps:
            return False
        if not self.complete and stamp == self.stamps[self._arrived]:
            self._arrived += 1
            self._sent_at = None
        return True

    def send_again(self, index: int) -> None:
        """Shows one sub-goal once more, for a predictor that has lost it."""
        self._send(self._images[index].message, self.stamps[index])
