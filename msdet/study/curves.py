# SPDX-License-Identifier: Apache-2.0
"""A study's curves over training: validation scores and the tasks' gradients, as PNG files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from msdet.figures import GREY, grid_of_axes, save, styled
from msdet.study.analysis import COSINE, curve, weighted_share
from msdet.study.pictures import Look, draw_legend
from msdet.study.results import Results, RunResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_CURVES = {
    "valid_si_sdr_improvement_db": "SI-SDR improvement (dB), validation",
    "valid_azimuth_error_median_deg": "median azimuth error (deg), validation",
}


@styled
def draw_training(results: Results, names: Mapping[str, Look], path: Path) -> None:
    """Validation scores over examples and over time: the mean of the seeds, and each seed thin."""
    figure, grid = grid_of_axes(len(_CURVES), 2, (9.5, 3.4 * len(_CURVES)))
    handles: dict[str, Any] = {}
    for row, (column, title) in enumerate(_CURVES.items()):
        for axes, axis, scale, label in zip(
            grid[row],
            ("examples", "train_seconds"),
            (1.0, 1 / 60),
            ("examples seen", "time (min)"),
            strict=True,
        ):
            for method, look in names.items():
                runs = results.of(method)
                if "separation" not in (runs[0].tasks if runs else ()) and "si_sdr" in column:
                    continue
                handle = _draw_curves(axes, runs, axis, column, scale, look)
                if handle is not None:
                    handles.setdefault(look.label, handle)
            axes.set_xlabel(label)
            axes.set_ylabel(title)
            axes.set_xlim(left=0)
            if "azimuth" in column:
                axes.set_yscale("log")
                _whole_ticks(axes)
    draw_legend(figure, handles, names)
    save(figure, path)


@styled
def draw_gradients(results: Results, names: Mapping[str, Look], path: Path) -> None:
    """The tasks' gradients on the shared encoder over training: their cosine, and who is louder."""
    figure, grid = grid_of_axes(1, 2, (9.5, 3.9))
    cosine, share = grid[0]
    handles: dict[str, Any] = {}
    for method, look in names.items():
        runs = results.of(method)
        examples = curve(runs, "examples")
        pairs = ((cosine, curve(runs, COSINE)), (share, 100 * weighted_share(runs)))
        for axes, values in pairs:
            handles[look.label] = _draw_mean(axes, examples, values, look)
    cosine.axhline(0.0, color=GREY, linewidth=1.0)
    cosine.set(title="Cosine between the tasks' gradients", xlabel="examples seen")
    share.axhline(50.0, color=GREY, linewidth=1.0)
    share.set(title="Separation's share of the weighted gradients (%)", xlabel="examples seen")
    share.set_ylim(0, 100)
    for axes in (cosine, share):
        axes.set_xlim(left=0)
    draw_legend(figure, handles, names)
    save(figure, path)


def _draw_curves(
    axes: Axes, runs: Sequence[RunResult], axis: str, column: str, scale: float, look: Look
) -> Any:
    x, y = curve(runs, axis) * scale, curve(runs, column)
    return _draw_mean(axes, x, y, look) if np.isfinite(y).any() else None


def _draw_mean(axes: Axes, x: NDArray[np.float64], y: NDArray[np.float64], look: Look) -> Any:
    """Curves ``[seed, epoch]``: each thin, and their mean over the epochs that all have."""
    for of_seed, at in zip(y, x, strict=True):
        axes.plot(at, of_seed, look.line, color=look.colour, linewidth=0.6, alpha=0.35)
    (handle,) = axes.plot(
        x.mean(axis=0),
        y.mean(axis=0),
        look.line,
        marker=look.mark,
        color=look.colour,
        markersize=3.5,
        linewidth=1.6,
        label=look.label,
    )
    return handle


def _whole_ticks(axes: Axes) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
