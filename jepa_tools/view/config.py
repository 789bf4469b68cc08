"""Options of `jepa view`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class ViewConfig:
    """Shows in a browser what the robot sees, wants and imagines, and takes orders from who has the token.

    Attributes:
        port: Of the page; 0 takes a free one.
        host: Address to serve at; other machines reach it only at one of the network, such as 0.0.0.0. There is no
            encryption: over a network that others use, go through ssh -L.
        token: What a page has to know to command; a random one for each start unless given. It is part of the address
            that is printed.
        read_only: Nobody may command.
        namespace: Of the nodes.
        cameras: Image topics; the first one is what the encoder sees, and what becomes a goal.
        rate: Pictures per second of each camera, at most.
        goals: Folder of pictures to choose goals from.
    """

    port: int = 8765
    host: str = "127.0.0.1"
    token: str = ""
    read_only: bool = False
    namespace: str = ""
    cameras: tuple[str, ...] = ("image",)
    rate: float = 8.0
    goals: Path | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise ValueError(f"port: expected 0 to 65535, got {self.port}")
        if not 0.1 <= self.rate <= 60:
            raise ValueError(f"rate: expected 0.1 to 60 pictures per second, got {self.rate}")
        if not self.cameras:
            raise ValueError("cameras: expected at least one topic")
