"""Settings from a YAML file: nested names, types checked, the command line wins, and a run's own file works."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path

import pytest
import tyro
import yaml

from jepa_common.config_file import ConfigFileError, with_config_file
from jepa_world_model.training.pretrain import PretrainConfig
from jepa_world_model.training.run_folder import plain


@dataclass(frozen=True)
class Loop:
    steps: int = 1
    fast: bool = True


@dataclass(frozen=True)
class Config:
    out: Path
    sizes: tuple[int, ...] = (1,)
    limit: int | None = 3
    loop: Loop = field(default_factory=Loop)


def parse(tmp_path: Path, text: str, *arguments: str) -> Config:
    path = tmp_path / "settings.yaml"
    path.write_text(text)
    return tyro.cli(Config, args=with_config_file([*arguments, "--config-file", str(path)]))


def test_a_file_sets_options_of_every_kind(tmp_path: Path) -> None:
    text = "out: somewhere\nsizes: [4, 5]\nlimit: null\nloop:\n  steps: 7\n  fast: false\n"
    assert parse(tmp_path, text) == Config(Path("somewhere"), (4, 5), None, Loop(7, False))


def test_the_command_line_wins(tmp_path: Path) -> None:
    assert parse(tmp_path, "out: a\nloop: {steps: 7}\n", "--loop.steps", "9").loop.steps == 9


@pytest.mark.parametrize("written", ["--config-file {}", "--config-file={}", "--config_file={}", "--config_file {}"])
@pytest.mark.parametrize("name", ["settings.yaml", "a=b.yaml", "with space.yaml"])
def test_a_file_may_stand_behind_an_equals_sign(tmp_path: Path, written: str, name: str) -> None:
    (tmp_path / name).write_text("loop: {steps: 7}\n")
    option, equals, _ = written.partition("=")
    words = [f"{option}={tmp_path / name}"] if equals else [option.split()[0], str(tmp_path / name)]
    assert tyro.cli(Config, args=with_config_file([*words, "--out", "a"])).loop.steps == 7


def test_of_several_files_the_later_one_wins(tmp_path: Path) -> None:
    (tmp_path / "first.yaml").write_text("out: a\nloop: {steps: 1, fast: false}\n")
    (tmp_path / "second.yaml").write_text("loop: {steps: 2}\n")
    arguments = ["--config-file", str(tmp_path / "first.yaml"), f"--config-file={tmp_path / 'second.yaml'}"]
    assert tyro.cli(Config, args=with_config_file(arguments)).loop == Loop(2, False)


@pytest.mark.parametrize("arguments", [["--config-file"], ["--config-file="], ["--out", "a", "--config-file", ""]])
def test_an_option_without_its_file_is_refused(arguments: list[str]) -> None:
    with pytest.raises(ConfigFileError, match="expected a YAML file behind it"):
        with_config_file(arguments)


@pytest.mark.parametrize("text", ["out: a\nloop: {stepz: 7}\n", "out: a\nloop: {steps: many}\n"])
def test_unknown_names_and_wrong_types_are_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(SystemExit):
        parse(tmp_path, text)


def test_a_file_that_is_no_mapping_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigFileError, match="names with values"):
        parse(tmp_path, "- 1\n- 2\n")
    with pytest.raises(ConfigFileError, match="No such file"):
        with_config_file(["--config-file", str(tmp_path / "missing.yaml")])


def test_the_file_that_a_run_leaves_gives_the_same_configuration(tmp_path: Path) -> None:
    config = PretrainConfig(Path("data"), Path("out"), objective="vjepa", batch=7)
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(plain(asdict(config))))
    arguments = with_config_file(["--config-file", str(tmp_path / "config.yaml")])
    assert tyro.cli(PretrainConfig, args=arguments) == config
