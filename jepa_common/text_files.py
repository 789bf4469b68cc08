"""Says what a file is that was expected to be binary and is text: downloads often go wrong that way."""

from __future__ import annotations

from pathlib import Path
from typing import Final

_LFS: Final = "version https://git-lfs.github.com/spec/"
_BEGINNING: Final = 4096
_SHOWN: Final = 60


def describe_text_file(path: Path) -> str | None:
    """What a text file is and what to do about it, as a phrase; None for a binary or an empty file.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        beginning = file.read(_BEGINNING)
    if not beginning.strip() or b"\0" in beginning or _control_characters(beginning):
        return None
    text = beginning.decode("utf-8", errors="replace").lstrip("\ufeff \t\r\n")
    size = f"{path.stat().st_size} bytes"
    if text.startswith(_LFS):
        return (
            f"a Git LFS pointer of {size}, not the file that it stands for: `git lfs pull` fetches it{_promised(text)}"
        )
    if text[:_SHOWN].lower().startswith(("<!doctype html", "<html", "<?xml", "<head", "<body")):
        return f"a web page of {size}{_title(text)}, not the file: download it again, from the link to the file itself"
    return f"a text file of {size} that begins {text[:_SHOWN].splitlines()[0]!r}: download the file again"


def _control_characters(data: bytes) -> bool:
    """Whether there are bytes that text does not have."""
    return any(byte < 0x20 and byte not in b"\t\n\r\f\x1b" for byte in data)


def _promised(pointer: str) -> str:
    size = next((line.split()[1] for line in pointer.splitlines() if line.startswith("size ")), "")
    return f" ({size} bytes)" if size else ""


def _title(page: str) -> str:
    start, end = page.lower().find("<title>"), page.lower().find("</title>")
    title = page[start + len("<title>") : end].strip() if 0 <= start < end else ""
    return f' with the title "{title[:_SHOWN]}"' if title else ""
