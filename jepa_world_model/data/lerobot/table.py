"""Parquet tables of a dataset: columns of numbers, pictures, episodes and tasks."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from jepa_world_model.data.lerobot.layout import Feature, LeRobotError, unreadable

PICTURE_TYPE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def column(values: NDArray[Any], feature: Feature) -> pa.Array:
    """A column of the table from an array [T, ...].

    Raises:
        LeRobotError: rows of another shape.
    """
    shape = () if feature.shape == (1,) else feature.shape
    array = np.asarray(values)
    if array.shape[1:] not in (shape, feature.shape):
        raise LeRobotError(f"expected rows of shape {list(feature.shape)}, got {list(array.shape[1:])}")
    flat = pa.array(np.ascontiguousarray(array, dtype=feature.dtype).reshape(-1))
    for size in reversed(shape):
        flat = pa.FixedSizeListArray.from_arrays(flat, size)
    return flat


def rows(table: pa.Table, name: str, feature: Feature) -> NDArray[Any]:
    """A column as an array [T, ...] of the feature's type; [T] for single numbers.

    Raises:
        LeRobotError: rows of another shape than the feature's.
    """
    values = table.column(name).combine_chunks()
    while pa.types.is_nested(values.type):
        values = values.flatten()
    shape = () if feature.shape == (1,) else feature.shape
    flat = np.asarray(values.to_numpy(zero_copy_only=False)).astype(feature.dtype)
    if flat.size != table.num_rows * int(np.prod(shape)):
        raise LeRobotError(f"{name}: expected {table.num_rows} rows of shape {list(shape)}, got {flat.size} numbers")
    return flat.reshape(table.num_rows, *shape)


def picture_column(pictures: Iterable[NDArray[np.uint8]]) -> pa.Array:
    """Pictures uint8 [H, W, 3] RGB as PNG files inside the table."""
    return pa.array([{"bytes": _png(picture), "path": None} for picture in pictures], type=PICTURE_TYPE)


def pictures(table: pa.Table, name: str) -> Iterator[NDArray[np.uint8]]:
    """The pictures uint8 [H, W, 3] RGB of a column of PNG or JPEG files.

    Raises:
        LeRobotError: a row without a picture in it.
    """
    for item in table.column(name):
        data = item.as_py()["bytes"]
        picture = None if data is None else cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        if picture is None:
            raise LeRobotError(f"{name}: expected a PNG or JPEG picture in the table, got none that can be read")
        yield np.ascontiguousarray(picture[:, :, ::-1])


def _png(picture: NDArray[np.uint8]) -> bytes:
    return bytes(cv2.imencode(".png", np.ascontiguousarray(picture[:, :, ::-1]))[1])


def episode_table(path: Path, episode: int, names: Sequence[str]) -> pa.Table:
    """The rows of one episode, in order; other episodes' row groups are left on disk."""
    return read(path, columns=list(names), filters=[("episode_index", "==", episode)])


def read(path: Path, **options: Any) -> pa.Table:
    """A table; raises LeRobotError when the file is missing or damaged."""
    try:
        # Not relative: what stands before a colon there would be taken for a file system's name.
        return pq.read_table(path.absolute(), **options)
    except (OSError, pa.ArrowException) as error:
        raise unreadable(path, "a Parquet table", error) from error


def column_names(path: Path) -> list[str]:
    """Names of a table's columns; raises LeRobotError when the file is damaged."""
    try:
        return list(pq.read_schema(path.absolute()).names)
    except (OSError, pa.ArrowException) as error:
        raise unreadable(path, "a Parquet table", error) from error


def write_rows(path: Path, records: Sequence[Mapping[str, Any]]) -> None:
    """Writes a table with one row per record."""
    pq.write_table(pa.Table.from_pylist([dict(record) for record in records]), path.absolute())


def write_tasks(path: Path, tasks: Sequence[str]) -> None:
    """Writes the table of tasks, whose sentences are its index in the way of pandas, as readers expect."""
    table = pa.table(
        {"task_index": pa.array(range(len(tasks)), pa.int64()), "task": pa.array(list(tasks), pa.string())}
    )
    described = [
        {"name": name, "field_name": name, "pandas_type": kind, "numpy_type": numpy_type, "metadata": None}
        for name, kind, numpy_type in (("task_index", "int64", "int64"), ("task", "unicode", "object"))
    ]
    index = {"index_columns": ["task"], "column_indexes": [], "columns": described, "pandas_version": "2.0.0"}
    pq.write_table(table.replace_schema_metadata({"pandas": json.dumps(index)}), path.absolute())


def read_tasks(path: Path) -> dict[int, str]:
    """Sentences by their numbers, also from tables whose index has another name."""
    table = read(path)
    names = [name for name in table.column_names if name != "task_index"]
    sentences = table.column(names[0]).to_pylist() if names else [""] * table.num_rows
    return dict(zip(table.column("task_index").to_pylist(), sentences, strict=True))
