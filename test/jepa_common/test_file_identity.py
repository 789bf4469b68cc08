"""Files are known by their stamps, and by their content wherever they lie."""

import os
import shutil
from pathlib import Path

import pytest

from jepa_common.file_identity import content_hash, file_stamps, files_below


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "made"
    (made / "sub").mkdir(parents=True)
    (made / "a").write_text("one")
    (made / "sub" / "b").write_text("two")
    return made


def test_hidden_files_are_no_part_of_a_folder(folder: Path):
    (folder / ".decoded").mkdir()
    (folder / ".decoded" / "cache").write_text("x")
    (folder / ".lock").write_text("")
    assert files_below(folder) == [folder / "a", folder / "sub" / "b"]
    assert files_below(folder / "a") == [folder / "a"]


def test_a_change_in_place_is_noticed_even_with_the_same_size(folder: Path):
    paths = files_below(folder)
    before = file_stamps(paths), content_hash(paths)
    (folder / "a").write_text("eno")
    assert file_stamps(paths) != before[0] and content_hash(paths) != before[1]


def test_a_file_that_comes_or_goes_or_is_renamed_is_noticed(folder: Path):
    before = file_stamps(files_below(folder)), content_hash(files_below(folder))
    (folder / "a").rename(folder / "c")
    renamed = file_stamps(files_below(folder)), content_hash(files_below(folder))
    (folder / "c").unlink()
    fewer = file_stamps(files_below(folder)), content_hash(files_below(folder))
    assert len({before[0], renamed[0], fewer[0]}) == len({before[1], renamed[1], fewer[1]}) == 3


def test_a_copy_has_the_same_content_and_a_moved_folder_the_same_stamps(folder: Path, tmp_path: Path):
    stamps, content = file_stamps(files_below(folder), folder), content_hash(files_below(folder))
    shutil.copytree(folder, tmp_path / "copy")
    os.utime(tmp_path / "copy" / "a", (1, 1))
    assert content_hash(files_below(tmp_path / "copy")) == content
    assert file_stamps(files_below(tmp_path / "copy"), tmp_path / "copy") != stamps
    folder.rename(tmp_path / "moved")
    assert file_stamps(files_below(tmp_path / "moved"), tmp_path / "moved") == stamps


def test_the_name_of_a_single_file_is_no_part_of_its_content(folder: Path):
    content = content_hash([folder / "a"])
    (folder / "a").rename(folder / "sub" / "other")
    assert content_hash([folder / "sub" / "other"]) == content
