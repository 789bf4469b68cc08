"""`jepa convert SOURCE... TARGET`: checkpoints, bags and LeRobot datasets, told apart by what the source is."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from tyro.conf import Positional

from jepa_common.text_files import describe_text_file
from jepa_tools.conversion.columns import Storage
from jepa_world_model.convert import ConvertConfig
from jepa_world_model.convert import convert as convert_checkpoint
from jepa_world_model.data.state_reading import LengthUnit, RotationKind, StateReading
from jepa_world_model.encoders import EncoderSource

CHECKPOINT_SUFFIXES = (".pt", ".pth", ".safetensors")
_SOURCES = "a checkpoint (.pt, .safetensors, or a folder of Hugging Face), a bag of ROS 2 or a LeRobot dataset"
Kind = Literal["auto", "checkpoint", "lerobot", "bag", "episodes"]


@dataclass(frozen=True)
class ConvertRequest:
    """Converts official checkpoints to this package's, bags to LeRobot datasets and back, and other datasets to ours.

    Nothing is overwritten, and what fails leaves nothing. Of several bags those that cannot be used are left out and
    named, and the exit code is 1. A conversion to a dataset that was interrupted stays in a
    hidden folder beside the target and goes on when it is asked for again with the same sources and options; with
    others it begins anew.

    Attributes:
        paths: what to convert, and last the target. Sources: an official .pt, a Hugging Face safetensors file or its
            folder; an encoder of another kind with its local weights file, such as timm:resnet18@resnet18.pth; bags or
            folders of bags; one LeRobot dataset.
        to: "auto" makes a dataset of bags, a bag of a dataset, and else a checkpoint; "episodes" makes training
            episodes of another lab's dataset, such as DROID.
        model: of a checkpoint: which released model it is, when the file name does not tell, such as vitg-384.
        config: of a checkpoint: JSON file with the shapes, when it is no released model.
        dtype: of a checkpoint: type of the stored weights; "keep" leaves them as they are.
        settings: of bags: YAML file that names topics and robot where they cannot be guessed.
        rate_hz: of bags and episodes: frames per second to keep.
        storage: of datasets: "lossless" video, "png" pictures in the tables, or "av1" video, small and lossy.
        task: of bags: what the robot was told.
        camera: of datasets: name of the camera, where there are several.
        state_columns: of datasets: columns, or parts of them such as observation.state[0:6], that hold x, y, z, then
            the rotation, then the gripper, where names in observation.state do not tell.
        rotation: of datasets: how the rotation is told; "auto" goes by names and units, and takes three numbers without
            names for roll, pitch, yaw (extrinsic xyz), in rad unless their unit says otherwise.
        gripper: of datasets: values of the open and of the closed gripper, such as 0.08 0 for a width in m, or 0 100;
            without it names tell, and with --state-columns it is 0 1.
        length_unit: of datasets: of x, y and z; "auto" goes by names and units, and is m where they do not tell.
        image_size: of episodes: side of the square pictures, pixels.
        bag_per_episode: of a dataset that becomes bags: a folder with one for each episode.
    """

    paths: Positional[tuple[Path, ...]]
    to: Kind = "auto"
    model: str = ""
    config: Path | None = None
    dtype: Literal["keep", "float32", "bfloat16", "float16"] = "keep"
    settings: Path | None = None
    rate_hz: float = 4.0
    storage: Storage = "lossless"
    task: str = ""
    camera: str = ""
    state_columns: tuple[str, ...] = ()
    rotation: RotationKind = "auto"
    gripper: tuple[float, float] | None = None
    length_unit: LengthUnit = "auto"
    image_size: int = 256
    bag_per_episode: bool = False

    def __post_init__(self) -> None:
        if len(self.paths) < 2:
            raise ValueError("expected at least a source and a target")

    @property
    def reading(self) -> StateReading:
        """How a dataset's columns become states."""
        return StateReading(self.state_columns, self.rotation, self.gripper, self.length_unit)

    @property
    def sources(self) -> tuple[Path, ...]:
        """All paths but the last."""
        return self.paths[:-1]

    @property
    def target(self) -> Path:
        """The last path."""
        return self.paths[-1]


def convert(config: ConvertRequest) -> int:
    """Converts, and prints what was written and what was left out; the exit code is 0 when no bag was.

    Raises:
        ValueError: the source cannot be converted; the message says why.
        FileExistsError: the target exists.
    """
    kind = _kind(config)
    if kind == "lerobot":
        return _from_bags(config)
    if len(config.sources) != 1:
        raise ValueError(f"expected one source and a target, got {len(config.sources)} sources")
    source = config.sources[0]
    if kind == "bag":
        _to_bag(source, config)
    elif kind == "episodes":
        _to_episodes(source, config)
    else:
        print(convert_checkpoint(ConvertConfig(source, config.target, config.model, config.config, config.dtype)))
    return 0


def _kind(config: ConvertRequest) -> Kind:
    if config.to != "auto":
        return config.to
    source = config.sources[0]
    if EncoderSource.parse(source) is not None:
        return "checkpoint"
    if not source.exists():
        raise ValueError(f"{source}: expected {_SOURCES}, but there is no file or folder of that name")
    if (source / "meta" / "info.json").exists():
        return "bag"
    if _is_checkpoint(source):
        return "checkpoint"
    # The libraries for bags are not needed for checkpoints. What is no bag either is refused there, with its reason.
    from jepa_tools.bags import BagError, find_bags

    try:
        find_bags([source])
    except BagError as error:
        other = describe_text_file(source) if source.is_file() else None
        raise ValueError(f"expected {_SOURCES}; {f'{source} is {other}' if other else error}") from error
    return "lerobot"


def _is_checkpoint(source: Path) -> bool:
    """By what the folder holds, by the file's name, or by how it begins: as torch writes one, whatever its name."""
    if source.is_dir():
        return any(
            any(source.glob(name)) for name in ("*.safetensors", "*.safetensors.index.json", "pytorch_model*.bin")
        )
    if source.suffix in CHECKPOINT_SUFFIXES:
        return True
    with source.open("rb") as file:
        return file.read(2) in (b"PK", b"\x80\x02")


def _from_bags(config: ConvertRequest) -> int:
    """The exit code: 1 when a bag could not be used."""
    # The libraries for bags and videos are not needed for checkpoints.
    from jepa_tools.bags import find_bags, load_settings
    from jepa_tools.conversion.bag_to_dataset import BagConversion, convert_bags
    from jepa_tools.conversion.validation import validate_dataset

    conversion = BagConversion(config.rate_hz, config.storage, config.task)
    bags = find_bags(config.sources)
    unusable = convert_bags(bags, config.target, load_settings(config.settings), conversion)
    print(validate_dataset(config.target))
    for error in unusable:
        print(f"left out: {error}", file=sys.stderr)
    return int(bool(unusable))


def _to_bag(source: Path, config: ConvertRequest) -> None:
    from jepa_tools.bags import load_settings
    from jepa_tools.conversion.dataset_to_bag import convert_dataset

    settings = load_settings(config.settings)
    print(convert_dataset(source, config.target, settings, config.camera, config.bag_per_episode, config.reading))
    print(config.target)


def _to_episodes(source: Path, config: ConvertRequest) -> None:
    from jepa_tools.conversion.dataset_to_episodes import EpisodeConversion, convert_to_episodes
    from jepa_tools.conversion.validation import validate_dataset

    conversion = EpisodeConversion(config.rate_hz, config.camera, config.reading, config.image_size, config.storage)
    found = convert_to_episodes(source, config.target, conversion)
    print(found)
    validated = validate_dataset(config.target)
    print(replace(validated, problems=(*found.problems, *validated.problems)))
