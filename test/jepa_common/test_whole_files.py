import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from jepa_common.whole_files import put_in_place, whole_file, write_whole

# Begins to replace the file, says so, and waits to be killed.
INTERRUPTED = """
import sys, time
from pathlib import Path
from jepa_common.whole_files import whole_file
with whole_file(Path(sys.argv[1])) as temporary:
    temporary.write_text("half")
    print("begun", flush=True)
    time.sleep(600)
"""


def test_text_is_written_in_utf_8_into_a_folder_that_is_made(tmp_path: Path) -> None:
    write_whole(tmp_path / "a" / "b.txt", "Grüße\n")
    assert (tmp_path / "a" / "b.txt").read_bytes() == "Grüße\n".encode()
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["b.txt"]


def test_a_failure_leaves_what_was_there_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "kept"
    write_whole(path, "before")
    with pytest.raises(RuntimeError, match="halfway"), whole_file(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError("halfway")
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_nothing_written_is_an_error_and_leaves_what_was_there(tmp_path: Path) -> None:
    write_whole(tmp_path / "kept", "before")
    with pytest.raises(FileNotFoundError), whole_file(tmp_path / "kept"):
        pass
    assert (tmp_path / "kept").read_text() == "before"


def test_a_killed_process_leaves_what_was_there_and_the_next_one_succeeds(tmp_path: Path) -> None:
    path = tmp_path / "kept"
    write_whole(path, "before")
    command = [sys.executable, "-c", INTERRUPTED, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "begun\n"
        process.send_signal(signal.SIGKILL)
    assert path.read_text() == "before"
    write_whole(path, "after")
    assert path.read_text() == "after"
    assert list(tmp_path.iterdir()) == [path]


def test_the_contents_are_on_the_disk_before_the_name_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[str] = []
    flush, rename = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda number: (events.append("flush"), flush(number))[1])
    monkeypatch.setattr(Path, "replace", lambda self, target: (events.append("rename"), rename(self, target))[1])
    write_whole(tmp_path / "file", "text")
    (tmp_path / "part").write_text("part")
    put_in_place(tmp_path / "part", tmp_path / "whole")
    assert events == ["flush", "rename"] * 2


def test_a_link_stays_one(tmp_path: Path) -> None:
    real, link = tmp_path / "real", tmp_path / "link"
    real.write_text("before")
    link.symlink_to(real)
    write_whole(link, "after")
    assert link.is_symlink() and real.read_text() == "after"


def test_a_pipe_is_written_to_and_not_replaced() -> None:
    reading, writing = os.pipe()
    try:
        write_whole(Path(f"/dev/fd/{writing}"), "text")
        assert os.read(reading, 10) == b"text"
    finally:
        os.close(reading)
        os.close(writing)
