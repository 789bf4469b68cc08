from pathlib import Path

import pytest

from jepa_common.resources import find_resource, share_folder


def test_the_source_tree_is_found():
    assert (share_folder() / "package.xml").is_file()
    assert find_resource("models").is_dir()


def test_an_installation_is_found_from_inside_it(tmp_path: Path):
    module = tmp_path / "lib" / "python3.12" / "site-packages" / "jepa_common" / "resources.py"
    share = tmp_path / "share" / "jepa_ros"
    share.mkdir(parents=True)
    assert share_folder(module) == share


def test_a_missing_resource_is_named():
    with pytest.raises(FileNotFoundError, match=r"no_such_robot\.urdf"):
        find_resource("models", "no_such_robot.urdf")
