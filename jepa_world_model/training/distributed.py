"""What a run of several processes shares: which rows of a batch are whose, and statistics over all of them."""

from __future__ import annotations

import os
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.nn.functional import all_gather


@dataclass(frozen=True)
class Part:
    """The share of process ``index`` of ``count`` in every batch."""

    index: int = 0
    count: int = 1

    def rows(self, batch: int) -> slice:
        """This process's rows of a batch of ``batch``.

        Raises:
            ValueError: the batch does not divide, so that the processes' mean would not be the batch's.
        """
        if batch % self.count:
            raise ValueError(f"a batch of {batch} does not divide among {self.count} processes; take a multiple")
        share = batch // self.count
        return slice(self.index * share, (self.index + 1) * share)


def gather_rows(rows: Tensor) -> Tensor:
    """The rows ``[N, ...]`` of all processes, ``[processes * N, ...]``, differentiable; one process: unchanged.

    Statistics of a batch (SIGReg, VICReg) see the whole batch this way, and the averaged gradient is that of one
    process with all of it.
    """
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return rows
    return torch.cat(all_gather(rows.contiguous()))


def process_device(name: str) -> torch.device:
    """The device of this process: "cuda" is the graphics card that the launcher gives it."""
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0"))) if name == "cuda" else torch.device(name)
