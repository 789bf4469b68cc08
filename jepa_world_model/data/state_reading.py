"""States of LeRobot datasets by what their columns mean: by names where they tell, by options where they do not.

What cannot be a state in our units is refused before anything is converted or trained, with the ranges that were found.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from jepa_common.gripper_description import GripperDescription
from jepa_world_model.data.lerobot import STATE, LeRobotDataset, LeRobotError
from jepa_world_model.data.state_names import METRES, POSE_NAMES, Meaning, is_known_unit, meaning_of
from jepa_world_model.data.state_survey import StateSurvey, Surveyor

RotationKind = Literal["auto", "euler", "euler-degrees", "quaternion-xyzw", "quaternion-wxyz", "rotation-vector"]
LengthUnit = Literal["auto", "m", "cm", "mm"]

CLOSEDNESS_FROM = "closedness_from"
"""Entry of info.json that says what closedness was computed from, so that nobody need doubt an unusual range."""

_HOW = "name them: `jepa convert DATASET TARGET --to episodes --state-columns ...` (x y z, rotation, gripper)"
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class StateReading:
    """How a dataset's columns become states; by default their names tell.

    Attributes:
        columns: columns, or parts of them such as `observation.state[0:6]` or `observation.state[7]`, that hold x, y,
            z, then the rotation, then the gripper. Empty looks for the names in `observation.state`.
        rotation: how the rotation is told; "auto" goes by names and units, and takes three numbers without names for
            roll, pitch, yaw (extrinsic xyz), in rad unless their unit says otherwise.
        gripper: values of the open and of the closed gripper; None where the name tells, or with `columns`, is 0 and 1.
        length_unit: of x, y and z; "auto" goes by names and units, and is m where they do not tell.
    """

    columns: tuple[str, ...] = ()
    rotation: RotationKind = "auto"
    gripper: tuple[float, float] | None = None
    length_unit: LengthUnit = "auto"


@dataclass(frozen=True)
class Entry:
    """One number of a column, with its name and unit if it has them."""

    column: str
    place: int
    name: str
    unit: str = ""

    @property
    def meaning(self) -> Meaning:
        """What its name and unit tell."""
        return meaning_of(self.name, self.unit)

    def __str__(self) -> str:
        return self.name or f"{self.column}[{self.place}]"


@dataclass(frozen=True, eq=False)
class StateColumns:
    """Where a dataset's states lie and what they mean.

    Attributes:
        dataset: the dataset.
        entries: of position (3), rotation (3 or 4) and gripper (1), in this order.
        rotation: how the rotation is told.
        gripper: what the gripper's number means.
        metres: of a unit of length.
        asserted: what a person said, and is therefore not doubted: "rotation", "gripper".
    """

    dataset: LeRobotDataset
    entries: tuple[Entry, ...]
    rotation: RotationKind
    gripper: GripperDescription
    metres: float
    asserted: frozenset[str]

    def raw(self, episode: int) -> Floats:
        """The numbers as they are stored, float64 [T, entries]."""
        names = list(dict.fromkeys(entry.column for entry in self.entries))
        columns = self.dataset.columns(episode, names)
        rows = {name: values.reshape(len(values), -1).astype(np.float64) for name, values in columns.items()}
        return np.stack([rows[entry.column][:, entry.place] for entry in self.entries], axis=1)

    def states(self, episode: int) -> Floats:
        """States float64 [T, 7]; the gripper is clipped to 0 ... 1."""
        return self._states(self.raw(episode))

    def _states(self, raw: Floats) -> Floats:
        angles = _euler_angles(raw[:, 3:-1], self.rotation)
        # What is closedness already stays exactly as it is.
        is_closedness = (self.gripper.open, self.gripper.closed) == (0.0, 1.0)
        closedness = np.clip(raw[:, -1:], 0.0, 1.0) if is_closedness else self.gripper.closedness(raw[:, -1:])
        return np.concatenate([raw[:, :3] * self.metres, angles, closedness], axis=1)

    def survey(self) -> StateSurvey:
        """Ranges of all that is stored.

        Raises:
            LeRobotError: the numbers cannot be what they are taken for; the message names them and their range.
        """
        return self._survey(self.raw(episode) for episode in range(len(self.dataset)))

    def all_states(self) -> list[NDArray[np.float32]]:
        """States float32 [T, 7] of every episode, read once.

        Raises:
            LeRobotError: as `survey`.
        """
        raw = [self.raw(episode) for episode in range(len(self.dataset))]
        self._survey(raw)
        return [self._states(rows).astype(np.float32) for rows in raw]

    def _survey(self, episodes: Iterable[Floats]) -> StateSurvey:
        surveyor = Surveyor(tuple(map(str, self.entries)), self.rotation, self.gripper, self.metres, self.asserted)
        for raw in episodes:
            surveyor.add(raw)
        survey = surveyor.result()
        if survey.refusals:
            raise LeRobotError("\n".join([f"{self.dataset.folder}: {'; '.join(survey.refusals)}", str(survey)]))
        return survey


def _euler_angles(rotation: Floats, kind: RotationKind) -> Floats:
    """Extrinsic xyz angles, rad, [T, 3]."""
    if kind == "rotation-vector":
        return np.asarray(Rotation.from_rotvec(rotation).as_euler("xyz"))
    if kind.startswith("quaternion"):
        scalar_last = rotation if kind == "quaternion-xyzw" else np.roll(rotation, -1, axis=1)
        return np.asarray(Rotation.from_quat(scalar_last).as_euler("xyz"))
    angles = np.deg2rad(rotation) if kind == "euler-degrees" else rotation
    # Angles that need no turn stay exactly as they are.
    return np.where(np.abs(angles) > np.pi, (angles + np.pi) % (2 * np.pi) - np.pi, angles)


def state_columns(dataset: LeRobotDataset, reading: StateReading | None = None) -> StateColumns:
    """Finds a dataset's states.

    Raises:
        LeRobotError: they are of another kind, or what they are cannot be known; the message says what to name.
    """
    reading = reading or StateReading()
    entries = _named_columns(dataset, reading.columns) if reading.columns else _by_names(dataset)
    kind = _rotation_kind(dataset, entries[3:-1], reading)
    asserted = {"rotation"} if reading.rotation != "auto" else set()
    if reading.gripper is not None or CLOSEDNESS_FROM in dataset.information:
        asserted.add("gripper")
    ends = reading.gripper or entries[-1].meaning.ends or ((0.0, 1.0) if reading.columns else None)
    if ends is None:
        low, high = _range(dataset, entries[-1])
        told = "its name and unit do" if entries[-1].unit else "its name does"
        raise LeRobotError(
            f"{dataset.folder}: {entries[-1]} lies between {low:.4g} and {high:.4g}, and {told} not tell which"
            " end is open: say --gripper OPEN CLOSED, the values of the open and of the closed gripper, to"
            " `jepa convert DATASET TARGET --to episodes`"
        )
    description = GripperDescription((), *map(float, ends))
    return StateColumns(
        dataset, entries, kind, description, _metres(dataset, entries[:3], reading), frozenset(asserted)
    )


def _metres(dataset: LeRobotDataset, entries: Sequence[Entry], reading: StateReading) -> float:
    """Of the unit of x, y and z: as a person said, or as names and units say."""
    if reading.length_unit != "auto":
        return METRES[reading.length_unit]
    told = {entry.meaning.metres for entry in entries}
    unknown = [entry.unit for entry in entries if entry.unit and not is_known_unit(entry.unit)]
    if len(told) > 1 or unknown:
        units = ", ".join(f"{entry} ({entry.unit})" if entry.unit else str(entry) for entry in entries)
        raise LeRobotError(
            f"{dataset.folder}: {units}: which unit of length this is cannot be known: say --length-unit m, cm or mm to"
            " `jepa convert DATASET TARGET --to episodes`"
        )
    return told.pop() or 1.0


def _range(dataset: LeRobotDataset, entry: Entry) -> tuple[float, float]:
    """Least and largest value of a number in all episodes."""
    columns = (dataset.columns(episode, [entry.column])[entry.column] for episode in range(len(dataset)))
    values = np.concatenate([column.reshape(len(column), -1)[:, entry.place] for column in columns])
    return float(np.nanmin(values)), float(np.nanmax(values))


def _named_columns(dataset: LeRobotDataset, columns: Sequence[str]) -> tuple[Entry, ...]:
    """The entries that a person named."""
    entries = tuple(entry for text in columns for entry in _parts(dataset, text))
    if len(entries) not in (7, 8):
        raise LeRobotError(
            f"expected state columns with {', '.join(POSE_NAMES)}: 7 numbers, or 8 with a quaternion, got"
            f" {len(entries)}: {', '.join(map(str, entries))}"
        )
    if wrong := [str(entry) for place, entry in enumerate(entries) if _misplaced(entry, place, len(entries))]:
        raise LeRobotError(
            f"{dataset.folder}: expected x, y, z, then the rotation, then the gripper; by its name this is not the"
            f" place of {', '.join(wrong)}"
        )
    return entries


def _misplaced(entry: Entry, place: int, count: int) -> bool:
    """Whether an entry's name says that something else stands there."""
    part = "position" if place < 3 else "gripper" if place == count - 1 else ""
    told = entry.meaning.part
    return told != "unknown" and (told != part if part else told in ("position", "gripper", "joint", "other"))


def _parts(dataset: LeRobotDataset, text: str) -> tuple[Entry, ...]:
    """The entries of a column, or of a part of one: `name`, `name[3]`, `name[0:3]`."""
    found = re.fullmatch(r"(.+?)\[(\d+)(?::(\d+))?\]", text)
    name = found.group(1) if found else text
    if name not in dataset.features:
        raise LeRobotError(f"{dataset.folder}: no column {name}; it has {', '.join(dataset.features)}")
    entries = _entries(dataset, name)
    if found is None:
        return entries
    start = int(found.group(2))
    chosen = entries[start : int(found.group(3)) if found.group(3) else start + 1]
    if not chosen:
        raise LeRobotError(f"{dataset.folder}: {text}: {name} has {len(entries)} numbers")
    return chosen


def _entries(dataset: LeRobotDataset, column: str) -> tuple[Entry, ...]:
    feature = dataset.features[column]
    size = int(np.prod(feature.shape))
    names = feature.names or ("",) * size
    units = feature.units or ("",) * size
    return tuple(Entry(column, place, names[place], units[place]) for place in range(size))


def _by_names(dataset: LeRobotDataset) -> tuple[Entry, ...]:
    """Position, rotation and gripper in `observation.state`, by their names."""
    expected = f"{dataset.folder}: expected {STATE} with {', '.join(POSE_NAMES)} (m, rad, 0 open to 1 closed)"
    feature = dataset.features.get(STATE)
    if feature is None:
        raise LeRobotError(f"{expected}, got none of that name among {', '.join(dataset.features)}; {_HOW}")
    entries = _entries(dataset, STATE)
    if feature.names is None:
        raise LeRobotError(
            f"{expected}, got {list(feature.shape)} numbers without names: what they are cannot be known; {_HOW}"
        )
    parts = _sorted_parts(entries)
    joints = [str(entry) for entry in parts.get("joint", ())]
    got = f"{', '.join(joints)}: joint angles" if joints else ", ".join(map(str, entries))
    rotations = [part for part in ("euler", "quaternion", "rotation-vector", "turn") if part in parts]
    if len(parts.get("position", ())) != 3 or len(rotations) != 1 or len(parts[rotations[0]]) not in (3, 4):
        raise LeRobotError(f"{expected}, got {got}; {_HOW}")
    if len(parts.get("gripper", ())) != 1:
        raise LeRobotError(f"{expected}, got {len(parts.get('gripper', ()))} numbers for the gripper: {got}; {_HOW}")
    return (*parts["position"], *parts[rotations[0]], *parts["gripper"])


def _sorted_parts(entries: Sequence[Entry]) -> Mapping[str, tuple[Entry, ...]]:
    """Entries by what they are, those with axes in the order x, y, z, w."""
    parts: dict[str, list[Entry]] = {}
    for entry in entries:
        parts.setdefault(entry.meaning.part, []).append(entry)
    return {
        part: tuple(sorted(found, key=lambda entry: "xyzw".find(entry.meaning.axis))) for part, found in parts.items()
    }


def _rotation_kind(dataset: LeRobotDataset, entries: Sequence[Entry], reading: StateReading) -> RotationKind:
    """How the rotation is told: as a person said, or as the names say."""
    told = ", ".join(map(str, entries))
    if reading.rotation != "auto":
        if len(entries) != (4 if reading.rotation.startswith("quaternion") else 3):
            raise LeRobotError(f"{dataset.folder}: --rotation {reading.rotation} does not fit {told}")
        return reading.rotation
    meanings = [entry.meaning for entry in entries]
    axes, parts = "".join(meaning.axis for meaning in meanings), {meaning.part for meaning in meanings}
    if len(entries) == 4 and parts <= {"quaternion", "turn"} and axes in ("xyzw", "wxyz"):
        return "quaternion-xyzw" if axes == "xyzw" else "quaternion-wxyz"
    if parts == {"rotation-vector"} and axes == "xyz" and not any(meaning.degrees for meaning in meanings):
        return "rotation-vector"
    nameless = len(entries) == 3 and not any(entry.name for entry in entries)
    if nameless or (parts == {"euler"} and axes == "xyz"):
        degrees = {meaning.degrees for meaning in meanings}
        if len(degrees) == 1 and all(not entry.unit or is_known_unit(entry.unit) for entry in entries):
            return "euler-degrees" if degrees.pop() else "euler"
    raise LeRobotError(
        f"{dataset.folder}: {told}: what kind of rotation this is cannot be known: say --rotation euler, euler-degrees,"
        " quaternion-xyzw, quaternion-wxyz or rotation-vector to `jepa convert DATASET TARGET --to episodes`"
    )
