# SPDX-License-Identifier: Apache-2.0
"""A study's figures, as PNG files, in the style of `msdet.figures`.

Methods differ in colour and in mark.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from msdet.figures import COLOURS, GREY, grid_of_axes, new_figure, save, styled
from msdet.metrics.measures import MEASURES

_PALETTE = (*COLOURS, "#000000")
_MARKS = "osD^vPX"
_COMPARED = (
    "si_sdr_improvement_db",
    "azimuth_error_mean_deg",
    "azimuth_error_mean_deg_best_matched",
)
_CURVES = {
    "valid_si_sdr_improvement_db": "SI-SDR improvement (dB), validation",
    "valid_azimuth_error_median_deg": "median azimuth error (deg), validation",
    "train_gradient_cosine_separation_direction": "cosine between the tasks' gradients",
}
_AXES = {"examples": (1.0, "examples seen"), "train_seconds": (1 / 60, "time (min)")}


@styled
def draw_differences(found: pd.DataFrame, words: str, path: Path) -> None:
    """Draw differences with their intervals, and the margin within which they mean nothing.

    Args:
        found: lines of findings. words: the column that says what is compared.
        path: the PNG file.
    """
    labels = list(dict.fromkeys(found[words]))
    measures = [MEASURES[name] for name in _COMPARED if name in set(found["metric"])]
    width = 0.08 * max(map(len, labels)) + 2.9 * len(measures)
    figure = new_figure((width, 1.5 + 0.34 * len(labels)))
    grid = figure.subplots(1, len(measures), squeeze=False, sharey=True)
    places = {label: len(labels) - 1 - index for index, label in enumerate(labels)}
    for axes, measure in zip(grid[0], measures, strict=True):
        if measure.margin is not None:
            axes.axvspan(-measure.margin, measure.margin, color="#EEEEEE", zorder=0, linewidth=0)
        axes.axvline(0.0, color=GREY, linewidth=1.0)
        own = found[found["metric"] == measure.name]
        for label, value, low, high in own[[words, "value", "low", "high"]].to_numpy():
            sure = low > 0 or high < 0
            colour, face = (COLOURS[0], COLOURS[0]) if sure else (GREY, "white")
            axes.plot([low, high], [places[label]] * 2, "-", color=colour, linewidth=1.8)
            axes.plot(value, places[label], "o", color=colour, markerfacecolor=face)
        title = measure.title[0].upper() + measure.title[1:]
        axes.set_title(title.replace(", ", ",\n"))
        worse = "" if measure.higher_is_better else " (less is better)"
        axes.set_xlabel(f"difference, {measure.unit}{worse}")
        axes.grid(axis="y", visible=False)
    grid[0, 0].set_yticks(list(places.values()), labels)
    grid[0, 0].set_ylim(-0.6, len(labels) - 0.4)
    save(figure, path)


@styled
def draw_training(history: pd.DataFrame, labels: Mapping[str, str], path: Path) -> None:
    """Draw curves over examples and over time: means of the seeds, each seed thin.

    Args:
        history: epochs of the runs, with ``method`` and ``seed``.
        labels: of all methods of the study, which gives each its colour whether it is there or not.
    """
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    measured = history.dropna(axis="columns", how="all")
    curves = {column: title for column, title in _CURVES.items() if column in measured}
    figure, grid = grid_of_axes(len(curves), len(_AXES), (9.5, 3.4 * len(curves)))
    handles: dict[str, Any] = {}
    for row, (column, title) in zip(grid, curves.items(), strict=True):
        for axes, (axis, (scale, label)) in zip(row, _AXES.items(), strict=True):
            for index, (method, name) in enumerate(labels.items()):
                own = history[(history["method"] == method) & history[column].notna()]
                if own.empty:
                    continue
                turn, place = divmod(index, len(_PALETTE))  # beyond the colours, lines are dashed
                colour, line = _PALETTE[place], ("-", "--", ":")[turn % 3]
                for _, of in own.groupby("seed"):
                    x = scale * of[axis]
                    axes.plot(x, of[column], line, color=colour, linewidth=0.6, alpha=0.35)
                mean = own.groupby("epoch")[[axis, column]].mean()
                (handles[name],) = axes.plot(
                    scale * mean[axis],
                    mean[column],
                    line,
                    marker=_MARKS[(place + turn) % len(_MARKS)],
                    color=colour,
                    markersize=3.5,
                    linewidth=1.6,
                )
            axes.set(xlabel=label, ylabel=title)
            axes.set_xlim(left=0)
            if "azimuth" in column:
                axes.set_yscale("log")
                axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
                axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
                axes.yaxis.set_minor_formatter(NullFormatter())
    figure.legend(handles.values(), handles, loc="outside upper center", ncols=min(4, len(handles)))
    save(figure, path)
