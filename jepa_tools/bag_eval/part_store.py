"""Keeps the bags that are done while an evaluation of many runs, so that an interrupted one goes on where it was."""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from jepa_common.whole_files import write_whole
from jepa_tools.bag_eval.evaluate import CaptionedPicture, EvaluatedBag
from jepa_tools.bag_eval.results import BagResult, from_json
from jepa_tools.reports.landscape import Landscape
from jepa_tools.reports.picture_grid import PictureGrid, PictureRow


class PartStore:
    """A folder with one file per evaluated bag, named by all that it depends on; without a folder it keeps nothing."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    def load(self, name: str) -> EvaluatedBag | None:
        """What was kept under this name."""
        if self._folder is None or not self._path(name).exists():
            return None
        try:
            data = json.loads(self._path(name).read_text(encoding="utf-8"))
            strips = tuple(tuple(map(_picture, strip)) for strip in data["strips"])
            worst = tuple(map(_picture, data["worst"]))
            return EvaluatedBag(
                from_json(BagResult, data["result"]),
                strips,
                worst,
                data["seconds"],
                tuple(map(_grid, data["best_predictions"])),
                tuple(map(_grid, data["worst_predictions"])),
                tuple(_landscape(record) for record in data["landscapes"]),
            )
        except (json.JSONDecodeError, KeyError, TypeError):
            return None  # of another version; measured again

    def save(self, name: str, evaluated: EvaluatedBag) -> None:
        """Keeps a bag's evaluation under this name."""
        if self._folder is None:
            return
        data = {
            "result": asdict(evaluated.result),
            "strips": [[_record(picture) for picture in strip] for strip in evaluated.strips],
            "worst": [_record(picture) for picture in evaluated.worst],
            "seconds": dict(evaluated.seconds or {}),
            "best_predictions": [_grid_record(grid) for grid in evaluated.best_predictions],
            "worst_predictions": [_grid_record(grid) for grid in evaluated.worst_predictions],
            "landscapes": [asdict(landscape) for landscape in evaluated.landscapes],
        }
        write_whole(self._path(name), json.dumps(data))

    def clear(self) -> None:
        """Removes everything, as a finished evaluation does."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _path(self, name: str) -> Path:
        if self._folder is None:
            raise ValueError("expected a folder to keep parts in")
        return self._folder / f"{name}.json"


def _record(picture: CaptionedPicture) -> dict[str, str]:
    return {"caption": picture.caption, "jpeg": base64.b64encode(picture.jpeg).decode()}


def _picture(record: dict[str, str]) -> CaptionedPicture:
    return CaptionedPicture(record["caption"], base64.b64decode(record["jpeg"]))


def _grid_record(grid: PictureGrid) -> dict[str, Any]:
    rows = [
        {"label": row.label, "jpegs": [base64.b64encode(data).decode() for data in row.pictures]} for row in grid.rows
    ]
    return {"title": grid.title, "heads": grid.heads, "rows": rows}


def _grid(record: Mapping[str, Any]) -> PictureGrid:
    rows = (PictureRow(row["label"], tuple(map(base64.b64decode, row["jpegs"]))) for row in record["rows"])
    return PictureGrid(record["title"], tuple(record["heads"]), tuple(rows))


def _landscape(record: Mapping[str, Any]) -> Landscape:
    first, second = record["axes"]
    truth = record["truth_cm"]
    return Landscape(
        record["title"],
        (first, second),
        tuple(record["offsets_cm"]),
        tuple(map(tuple, record["energies"])),
        None if truth is None else (truth[0], truth[1]),
    )
