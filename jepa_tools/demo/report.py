"""The demo's pictures: goal, reached, side by side, the energy curve, and a video."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import imageio.v2 as imageio
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jepa_tools.demo.trace import Array, DemoTrace, Picture

BLUE, ORANGE, GRAY, GREEN = "#2563a8", "#d9662b", "#6b7280", "#2e8b57"
VIDEO_RATE = 10
_PANEL, _CURVE = 320, 112  # pixels: side of the video's pictures, height of the curve below them


@dataclass(frozen=True, eq=False)
class DemoOutcome:
    """What the pictures say beside what the trace holds.

    target: where the tool was in the goal picture [3], m. tolerance: distance that counts as reached, m.
    """

    target: Array
    tolerance: float
    reached: bool
    distance: float


def write_pictures(folder: Path, trace: DemoTrace, outcome: DemoOutcome) -> None:
    """Writes goal.png, reached.png, side_by_side.png, energy.png and demo.mp4 into `folder`."""
    imageio.imwrite(folder / "goal.png", trace.goal)
    imageio.imwrite(folder / "reached.png", trace.frames[-1])
    _save(side_by_side(trace, outcome), folder / "side_by_side.png")
    _save(energy_figure(trace, outcome), folder / "energy.png")
    write_video(folder / "demo.mp4", trace, outcome)


def _save(figure: Figure, path: Path) -> None:
    figure.savefig(path, dpi=130, facecolor="white")


def side_by_side(trace: DemoTrace, outcome: DemoOutcome) -> Figure:
    """Start, goal and what was reached, next to each other."""
    start = float(np.linalg.norm(trace.tool_positions[0] - outcome.target))
    verdict = "reached" if outcome.reached else "not reached"
    panels = (
        (trace.frames[0], f"start: {start * 100:.1f} cm away", GRAY),
        (trace.goal, "goal image", BLUE),
        (trace.frames[-1], f"{verdict}: {outcome.distance * 100:.1f} cm", GREEN if outcome.reached else ORANGE),
    )
    figure = Figure(figsize=(9.6, 3.5), layout="constrained")
    axes = figure.subplots(1, len(panels))
    for axis, (picture, title, color) in zip(axes, panels, strict=True):
        axis.imshow(picture)
        axis.set_title(title, color=color, fontsize=12)
        axis.set_xticks([])
        axis.set_yticks([])
        axis.spines[:].set_color(color)
        axis.spines[:].set_linewidth(2)
    return figure


def energy_figure(trace: DemoTrace, outcome: DemoOutcome) -> Figure:
    """Energy, which the planner sees, and true distance, which it does not, at each step."""
    figure = Figure(figsize=(7.2, 5.4), layout="constrained")
    top, bottom = figure.subplots(2, 1, sharex=True)
    steps = np.arange(len(trace.energies))
    top.plot(steps, trace.energies, color=BLUE, marker="o", markersize=4, linewidth=1.8)
    top.set_ylabel("energy\n(latent distance to the goal)", color=BLUE)
    distances = trace.distances(outcome.target, trace.step_times) * 100
    bottom.plot(steps, distances, color=ORANGE, marker="o", markersize=4, linewidth=1.8)
    bottom.axhspan(0, outcome.tolerance * 100, color=GREEN, alpha=0.12, linewidth=0)
    bottom.axhline(outcome.tolerance * 100, color=GREEN, linewidth=1, linestyle="--")
    bottom.annotate(
        f"{outcome.tolerance * 100:.0f} cm", (steps[-1], outcome.tolerance * 100), color=GREEN, ha="right", va="bottom"
    )
    bottom.set_ylabel("true distance to the goal (cm)\n(the planner never sees it)", color=ORANGE)
    bottom.set_xlabel("step")
    for axis in (top, bottom):
        _plain(axis)
    figure.suptitle(f"From {distances[0]:.1f} cm to {outcome.distance * 100:.1f} cm in {len(steps) - 1} steps")
    return figure


def _plain(axis: Axes) -> None:
    axis.set_ylim(0, axis.get_ylim()[1] * 1.04)
    axis.grid(color="#e5e7eb", linewidth=0.8)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)


def write_video(path: Path, trace: DemoTrace, outcome: DemoOutcome) -> None:
    """The camera's view, the goal, the imagined end of the current plan, and below the energy so far (H.264)."""
    distances = trace.distances(outcome.target, trace.frame_times)
    # FFmpeg takes what stands before a colon in a relative path for a protocol; the stubs know only what readers and
    # writers share.
    writer: Any = imageio.get_writer(path.absolute(), fps=VIDEO_RATE, codec="libx264", quality=8, macro_block_size=16)
    with writer as video:
        for time, frame, distance in zip(trace.frame_times, trace.frames, distances, strict=True):
            video.append_data(_video_frame(trace, frame, float(time), float(distance)))


def _video_frame(trace: DemoTrace, frame: Picture, time: float, distance: float) -> Picture:
    panels = [_panel(frame, f"camera   {distance * 100:.1f} cm to go"), _panel(trace.goal, "goal")]
    if trace.imagined:
        end = trace.imagined_at(time)
        blank = np.full((_PANEL, _PANEL, 3), 225, np.uint8)
        panels.append(_panel(blank, "no plan yet") if end is None else _panel(end, "imagined end of the plan"))
    pictures = np.hstack(panels)
    return np.vstack([pictures, _energy_panel(trace, time, pictures.shape[1])])


def _panel(picture: Picture, label: str) -> Picture:
    """The picture at the video's size, with a label."""
    method = cv2.INTER_AREA if picture.shape[0] > _PANEL else cv2.INTER_CUBIC
    panel = np.asarray(cv2.resize(picture, (_PANEL, _PANEL), interpolation=method), dtype=np.uint8)
    _label(panel, label)
    return panel


def _energy_panel(trace: DemoTrace, time: float, width: int) -> Picture:
    """The energy up to `time`, drawn small."""
    panel = np.full((_CURVE, width, 3), 255, np.uint8)
    count = max(1, int(np.searchsorted(trace.step_times, time, side="right")))
    across = 16 + np.arange(len(trace.energies)) * (width - 32) / max(1, len(trace.energies) - 1)
    up = _CURVE - 12 - trace.energies / max(trace.energies.max(), 1e-9) * (_CURVE - 48)
    points = np.stack([across, up], axis=1)[:count].round().astype(np.int32)
    color = (0x25, 0x63, 0xA8)
    cv2.polylines(panel, [points.reshape(-1, 1, 2)], False, color, 2, cv2.LINE_AA)
    cv2.circle(panel, (int(points[-1, 0]), int(points[-1, 1])), 4, color, -1, cv2.LINE_AA)
    _label(panel, f"energy {trace.energies[count - 1]:.3f}")
    return panel


def _label(picture: Picture, text: str) -> None:
    """Writes into the upper left corner, on a light strip that keeps it readable."""
    strip = picture[:24].astype(np.float32)
    picture[:24] = (strip * 0.25 + 255 * 0.75).astype(np.uint8)
    cv2.putText(picture, text, (8, 17), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (40, 40, 40), 1, cv2.LINE_AA)
