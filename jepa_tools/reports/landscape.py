"""Energy landscapes: the energy of one step in each direction, as a planner sees it, as a heat map."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from jepa_tools.reports.charts import new_axes, new_figure, style
from jepa_world_model.world_model import WorldModel

CELLS = 17
_AXES = "xyz"


@dataclass(frozen=True)
class Landscape:
    """Energies of steps along two axes of the robot's base.

    Attributes:
        title: what it shows.
        axes: names of the two axes.
        offsets_cm: of the steps, [K], the same along both.
        energies: by step along the second axis and along the first, [K][K].
        truth_cm: where the goal really is from the hand along both axes; None when nobody knows.
    """

    title: str
    axes: tuple[str, str]
    offsets_cm: tuple[float, ...]
    energies: tuple[tuple[float, ...], ...]
    truth_cm: tuple[float, float] | None = None

    @property
    def lowest_cm(self) -> tuple[float, float]:
        """Where the energy is lowest."""
        row, column = np.unravel_index(int(np.argmin(self.energies)), np.shape(self.energies))
        return self.offsets_cm[column], self.offsets_cm[row]


def energy_landscape(
    model: WorldModel,
    context: Tensor,
    states: NDArray[np.floating],
    goal: Tensor,
    title: str,
    truth: NDArray[np.floating] | None = None,
    axes: tuple[int, int] = (0, 1),
    reach: float = 0.0,
) -> Landscape:
    """Energies of steps from the hand toward `goal`.

    Args:
        model: with its predictor.
        context: latents ``[T, tokens, dim]`` until now.
        states: ``[T, 7]``.
        goal: latent ``[tokens, dim]``.
        title: of the landscape.
        truth: displacement ``[3]`` of the hand to where it is in the goal, m.
        axes: which two of x, y, z.
        reach: longest step shown along an axis, m; 0 is the card's longest, or a little more than `truth`.
    """
    way = 0.0 if truth is None else 1.3 * float(np.abs(np.asarray(truth)[list(axes)]).max())
    offsets = np.linspace(-1.0, 1.0, CELLS) * (reach or max(model.card.max_step_m, way))
    actions = np.zeros((CELLS, CELLS, 1, model.card.action_dim), np.float32)
    actions[..., 0, axes[0]], actions[..., 0, axes[1]] = offsets[None, :], offsets[:, None]
    energies = model.energy(context, states.astype(np.float32), actions.reshape(-1, 1, model.card.action_dim), goal)
    grid = energies.reshape(CELLS, CELLS).cpu().numpy()
    return Landscape(
        title,
        (_AXES[axes[0]], _AXES[axes[1]]),
        tuple(round(100 * float(offset), 4) for offset in offsets),
        tuple(tuple(float(f"{value:.6g}") for value in row) for row in grid),
        None if truth is None else (100 * float(truth[axes[0]]), 100 * float(truth[axes[1]])),
    )


def landscape_figure(landscape: Landscape) -> Figure:
    """The heat map: where the hand is, where the energy is lowest, and where the goal is."""
    figure = new_figure(4.6, 3.8)
    first, second = landscape.axes
    axes = new_axes(figure, f"step along {first}, cm", f"step along {second}, cm")
    offsets = landscape.offsets_cm
    box = (offsets[0], offsets[-1], offsets[0], offsets[-1])
    values = np.asarray(landscape.energies)
    drawn = axes.imshow(values, origin="lower", extent=box, cmap="viridis_r", interpolation="bicubic")
    axes.contour(
        landscape.offsets_cm, landscape.offsets_cm, values, levels=8, colors="white", linewidths=0.5, alpha=0.6
    )
    axes.plot(0, 0, "o", color="white", markeredgecolor="black", markersize=7, label="hand now")
    axes.plot(*landscape.lowest_cm, "X", color="#ff5a36", markeredgecolor="white", markersize=10, label="lowest energy")
    if landscape.truth_cm is not None:
        axes.plot(
            *landscape.truth_cm, "*", color="#ffd43b", markeredgecolor="black", markersize=13, label="where the goal is"
        )
    with style():
        figure.colorbar(drawn, ax=axes, shrink=0.9).set_label("energy (latent distance to the goal)")
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=3, fontsize="small", handletextpad=0.1)
    return figure
