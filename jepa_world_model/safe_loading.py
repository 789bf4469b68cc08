"""Reading ``torch.save`` files without running what they say, also such whose bookkeeping holds numpy's numbers.

Training loops save losses and epochs as numpy scalars. torch's reader of weights alone refuses these; here it is
allowed to make numbers of them, by a function of ours, and nothing else.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import torch

_NUMBER_KINDS = "biufc"
_SCALAR_NAMES = ("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar")
"""As numpy before and from 2.0 on calls the function that makes a scalar."""


def load_tensors(path: Path, mapped: bool) -> Any:
    """What a file saved by ``torch.save`` holds, on the CPU: tensors, containers, strings and numbers.

    Args:
        path: the file.
        mapped: leave tensors on disk until they are used.

    Raises:
        pickle.UnpicklingError: it holds anything else.
        RuntimeError, EOFError, OSError, ValueError: it is damaged.
    """
    number_types = [type(np.dtype(code)) for code in np.typecodes["All"] if np.dtype(code).kind in _NUMBER_KINDS]
    allowed: list[Any] = [*((_number, name) for name in _SCALAR_NAMES), np.dtype, *number_types]
    with torch.serialization.safe_globals(allowed):
        return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)


def _number(kind: np.dtype[Any], data: Any = b"") -> Any:
    """A numpy scalar of a numeric type, from its bytes."""
    if not isinstance(kind, np.dtype) or kind.kind not in _NUMBER_KINDS or not isinstance(data, bytes):
        raise pickle.UnpicklingError(f"expected a number of numpy's, got {kind!r}")
    return np.frombuffer(data, kind, 1)[0]
