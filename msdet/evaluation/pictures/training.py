# SPDX-License-Identifier: Apache-2.0
"""The curves of a training."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from msdet.figures import COLOURS, GREY, grid_of_axes, save, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_QUANTITIES = {
    "loss": "loss",
    "separation_loss": "separation loss",
    "direction_loss": "direction loss (cross-entropy, nats)",
    "distance_loss": "distance loss",
    "si_sdr_improvement_db": "SI-SDR improvement (dB)",
    "azimuth_error_median_deg": "median azimuth error (deg)",
    "azimuth_error_mean_deg": "mean azimuth error (deg)",
    "azimuth_within_10deg": "share within 10 deg",
    "learning_rate": "learning rate",
    "gradient_norm": "gradient norm",
}


@styled
def training_curves(history: Sequence[Mapping[str, float | None]], path: Path) -> None:
    """One panel per quantity, training and validation together, over time.

    Args:
        history: rows of numbers. ``seconds``, ``step`` or ``epoch`` (the first that is there)
            is the horizontal axis; ``train_loss`` and ``valid_loss`` (or ``train/loss``, ...)
            share the panel ``loss``; anything else gets a panel of its own. A row may lack
            columns; what is missing or not finite is left out.
        path: the PNG file.
    """
    axis = next((n for n in ("seconds", "step", "epoch") if any(n in row for row in history)), None)
    if axis is None:
        raise ValueError("history has none of the columns seconds, step, epoch")
    panels: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for row in history:
        at = row.get(axis)
        for name, value in row.items():
            if name in ("seconds", "step", "epoch") or at is None or value is None:
                continue
            if math.isfinite(value):
                split, quantity = _split_name(name)
                panels.setdefault(quantity, {}).setdefault(split, []).append((at, value))
    if not panels:
        raise ValueError("history has nothing to draw")

    known = list(_QUANTITIES)
    names = sorted(panels, key=lambda n: (known.index(n) if n in known else len(known), n))
    columns = min(len(names), 3)
    lines = math.ceil(len(names) / columns)
    last = max(at for curves in panels.values() for points in curves.values() for at, _ in points)
    scale, label = _time_axis(axis, last)
    figure, axes = grid_of_axes(lines, columns, (4.0 * columns, 2.9 * lines))
    for place, name in zip(axes.flat, names, strict=False):
        for split, points in sorted(panels[name].items()):
            x, y = np.array(sorted(points)).T
            _draw_curve(place, x / scale, y, split)
        place.set_title(_QUANTITIES.get(name, name.replace("_", " ")))
        place.set_xlabel(label)
        place.set_xlim(0, 1.02 * last / scale or 1.0)
        if "loss" in name and min(v for s in panels[name].values() for _, v in s) > 0:
            place.set_yscale("log")
            _plain_log_ticks(place)
        if set(panels[name]) - {""}:
            place.legend()
    for place in list(axes.flat)[len(names) :]:
        place.set_visible(False)
    save(figure, path)


def _split_name(name: str) -> tuple[str, str]:
    """``train_loss`` and ``train/loss`` are (train, loss); a name without a split has ""."""
    for split in ("train", "valid"):
        for separator in ("/", "_"):
            if name.startswith(split + separator):
                return split, name[len(split) + 1 :]
    return "", name


def _draw_curve(axes: Axes, x: NDArray[np.float64], y: NDArray[np.float64], split: str) -> None:
    """Training thin and dashed where it is a line of many points, validation with its points."""
    if split == "valid":
        axes.plot(x, y, "o-", color=COLOURS[1], markersize=3.5, linewidth=1.5, label="validation")
    elif split == "train":
        axes.plot(x, y, "-", color=COLOURS[0], linewidth=1.2, label="training")
    else:
        axes.plot(x, y, "-", color=GREY, linewidth=1.2)


def _time_axis(axis: str, last: float) -> tuple[float, str]:
    if axis != "seconds":
        return 1.0, axis
    if last > 3 * 3600:
        return 3600.0, "time (h)"
    return (60.0, "time (min)") if last > 180 else (1.0, "time (s)")


def _plain_log_ticks(axes: Axes) -> None:
    """2, 3, 5 instead of 2x10^0: losses seldom span more than a decade."""
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 1.5, 2.0, 3.0, 5.0, 7.0)))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
