"""The demo's pictures and video, wherever they are to be written."""

from dataclasses import replace

import imageio.v2 as imageio
import numpy as np
import pytest

from jepa_tools.demo.report import DemoOutcome, write_pictures
from jepa_tools.demo.trace import DemoTrace

PICTURE = np.full((64, 64, 3), (40, 60, 80), np.uint8)
TRACE = DemoTrace(
    goal=PICTURE,
    frame_times=np.array([0.0, 0.1, 0.2]),
    frames=(PICTURE,) * 3,
    state_times=np.array([0.0, 0.2]),
    tool_positions=np.array([[0.4, 0.0, 0.3], [0.5, 0.0, 0.3]]),
    step_times=np.array([0.0, 0.2]),
    energies=np.array([1.0, 0.5]),
)


@pytest.mark.parametrize("folder", ["demo", "2026-11-27T10:30:00", "100%41 done"])
def test_pictures_and_video_are_written_to_relative_folders_of_any_name(tmp_path, monkeypatch, folder):
    monkeypatch.chdir(tmp_path)
    out = (tmp_path / folder).relative_to(tmp_path)
    out.mkdir()
    write_pictures(out, TRACE, DemoOutcome(np.array([0.5, 0.0, 0.3]), 0.04, True, 0.0))
    assert len({item.name for item in out.iterdir()}) == 5
    with imageio.get_reader((out / "demo.mp4").absolute()) as video:
        assert video.count_frames() == 3


def test_the_video_shows_camera_goal_and_the_imagined_end_of_the_plan_of_that_moment(tmp_path):
    ends = tuple(np.full((32, 32, 3), color, np.uint8) for color in ((200, 0, 0), (0, 200, 0)))
    trace = replace(TRACE, imagined_times=np.array([0.05, 0.15]), imagined=ends)
    write_pictures(tmp_path, trace, DemoOutcome(np.array([0.5, 0.0, 0.3]), 0.04, True, 0.0))
    with imageio.get_reader(tmp_path / "demo.mp4") as video:
        frames = [frame[200, :, :].astype(int) for frame in video]  # a row of pixels through all three pictures
    assert all(len(row) == 3 * 320 for row in frames)
    assert np.abs(frames[0][160] - PICTURE[0, 0]).max() < 16 and np.abs(frames[0][480] - PICTURE[0, 0]).max() < 16
    shown = [row[800] for row in frames]
    assert np.ptp(shown[0]) < 16 and shown[1].argmax() == 0 and shown[2].argmax() == 1
