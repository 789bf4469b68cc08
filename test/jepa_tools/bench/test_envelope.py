"""The planner's motion, as recorded on the simulated arm, stays inside its envelope and ends at the goal at rest."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from jepa_tools.bench.envelope import EnvelopeConfig, EnvelopeReport, envelope, record


def test_recorded_motion_is_inside_the_envelope_and_is_reported(tmp_path: Path) -> None:
    config = EnvelopeConfig(episodes=2, seconds=5.0, out=tmp_path)
    assert envelope(config) == 0
    report = json.loads((tmp_path / "envelope.json").read_text())
    assert report["reached"] >= 1 and 0 < report["tracking_error"] < 0.15
    # The arm did move, and used what it was given.
    assert max(report["acceleration"]) > 0.5 and max(report["jerk"]) > 100
    assert (tmp_path / "envelope.png").stat().st_size > 10_000


def test_motion_beyond_its_limits_is_noticed() -> None:
    recordings, limits = record(EnvelopeConfig(episodes=1, seconds=2.5))
    assert EnvelopeReport.of(recordings, limits).is_inside
    for quantity in ("velocity", "acceleration", "jerk"):
        tight = replace(limits, **{quantity: getattr(limits, quantity) / 10})
        assert not EnvelopeReport.of(recordings, tight).is_inside


def test_senseless_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="positive"):
        EnvelopeConfig(max_step=float(np.nan))
