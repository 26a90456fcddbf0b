# SPDX-License-Identifier: Apache-2.0
"""A study's figures, as PNG files, in the style of `msdet.figures`.

Methods differ in colour and in mark, and keep both from figure to figure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from msdet.figures import COLOURS, GREY, grid_of_axes, new_figure, save, styled
from msdet.metrics.bootstrap import Interval, interval
from msdet.metrics.measures import MEASURES, Measure
from msdet.study.analysis import ANGLES, FEWEST_SHOWN, SEAM_BINS, present
from msdet.study.results import Results

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_PALETTE = (*COLOURS, "#000000")
_MARKS = "osD^vPX"
_BY_KIND = ("si_sdr_improvement_db", "azimuth_error_mean_deg_best_matched", "order_accuracy")


@dataclass(frozen=True)
class Look:
    """A method's name and how it is drawn."""

    label: str
    colour: str
    mark: str
    line: str


def looks(labels: Mapping[str, str]) -> dict[str, Look]:
    """By method. Beyond as many as there are colours, lines are dashed."""
    found = {}
    for index, (method, label) in enumerate(labels.items()):
        turn, place = divmod(index, len(_PALETTE))
        line = ("-", "--", ":")[turn % 3]
        found[method] = Look(label, _PALETTE[place], _MARKS[(place + turn) % len(_MARKS)], line)
    return found


# --- differences --------------------------------------------------------------------------


@styled
def draw_differences(
    lines: Sequence[tuple[str, Mapping[str, Interval]]], measures: Sequence[Measure], path: Path
) -> None:
    """Differences with their intervals, and the margin within which they mean nothing.

    Args:
        lines: from above, what is compared in words, and the difference by measure.
        measures: a panel for each.
        path: the PNG file.
    """
    height = 1.5 + 0.34 * len(lines)
    longest = max(len(words) for words, _ in lines)
    figure = new_figure((0.08 * longest + 2.9 * len(measures), height))
    grid = figure.subplots(1, len(measures), squeeze=False, sharey=True)
    places = np.arange(len(lines))[::-1]
    for axes, measure in zip(grid[0], measures, strict=True):
        scale = _scale(measure)
        if measure.margin is not None:
            margin = measure.margin * scale
            axes.axvspan(-margin, margin, color="#EEEEEE", zorder=0, linewidth=0)
        axes.axvline(0.0, color=GREY, linewidth=1.0)
        for place, (_, by_name) in zip(places, lines, strict=True):
            if measure.name not in by_name:
                continue
            found = by_name[measure.name]
            colour = COLOURS[0] if found.excludes_zero else GREY
            face = colour if found.excludes_zero else "white"
            ends = [found.low * scale, found.high * scale]
            axes.plot(ends, [place, place], "-", color=colour, linewidth=1.8)
            axes.plot(found.value * scale, place, "o", color=colour, markerfacecolor=face)
        axes.set_title(_sentence(measure.title).replace(", ", ",\n"))
        worse = "" if measure.higher_is_better else " (less is better)"
        axes.set_xlabel(f"difference, {measure.unit}{worse}")
        axes.grid(axis="y", visible=False)
    grid[0, 0].set_yticks(places, [words for words, _ in lines])
    grid[0, 0].set_ylim(-0.6, len(lines) - 0.4)
    save(figure, path)


# --- by kind of scene ---------------------------------------------------------------------


def draw_by_angle(results: Results, names: Mapping[str, Look], path: Path) -> None:
    """By the smallest angle between two speakers, on `main`."""
    at = results.scenes["main"].nearest
    _draw_by(results, names, _BY_KIND, at, ANGLES[1:], "angle between speakers (deg)", path)


def draw_by_seam(results: Results, names: Mapping[str, Look], path: Path) -> None:
    """By the angle of the nearest speaker to 0 degrees, on `main`."""
    at = results.scenes["main"].to_seam
    _draw_by(results, names, _BY_KIND, at, SEAM_BINS, "nearest speaker to 0 degrees (deg)", path)


@styled
def _draw_by(
    results: Results,
    names: Mapping[str, Look],
    measures: Sequence[str],
    at: NDArray[np.float64],
    edges: Sequence[float],
    title: str,
    path: Path,
) -> None:
    """Means with intervals in each bin of ``at`` ``[scene]``; methods stand beside each other."""
    figure, grid = grid_of_axes(1, len(measures), (4.3 * len(measures), 4.0))
    bins = [(at >= low) & ((at < high) | (high == edges[-1])) for low, high in pairwise(edges)]
    handles: dict[str, Any] = {}
    for axes, name in zip(grid[0], measures, strict=True):
        measure = MEASURES[name]
        having = [
            method
            for method in names
            if results.of(method) and present(results.values(method, "main", measure.quantity))
        ]
        for order, method in enumerate(having):
            values = results.values(method, "main", measure.quantity)
            shift = 0.8 * ((order + 0.5) / len(having) - 0.5)
            points = [
                (place + shift, interval(values[:, inside], measure))
                for place, inside in enumerate(bins)
                if inside.sum() >= FEWEST_SHOWN
            ]
            handles.setdefault(
                names[method].label, _draw_points(axes, points, measure, names[method])
            )
        labels = [
            f"{low:g}–{high:g}\n({inside.sum()})"  # noqa: RUF001
            for (low, high), inside in zip(pairwise(edges), bins, strict=True)
        ]
        axes.set_xticks(range(len(bins)), labels)
        axes.set_xlim(-0.6, len(bins) - 0.4)
        axes.set_xlabel(f"{title}\n(scenes)")
        axes.set_title(f"{_sentence(measure.title)} ({measure.unit})")
        axes.grid(axis="x", visible=False)
    draw_legend(figure, handles, names)
    save(figure, path)


def _draw_points(
    axes: Axes, points: Sequence[tuple[float, Interval]], measure: Measure, look: Look
) -> Any:
    scale = _scale(measure)
    at = [place for place, _ in points]
    values = np.array([found.value for _, found in points]) * scale
    ends = np.array([[found.low, found.high] for _, found in points]).reshape(-1, 2) * scale
    axes.vlines(at, ends[:, 0], ends[:, 1], color=look.colour, linewidth=1.2)
    (handle,) = axes.plot(
        at, values, look.mark, color=look.colour, markersize=4.5, linestyle="none", label=look.label
    )
    return handle


def draw_legend(figure: Figure, handles: Mapping[str, Any], names: Mapping[str, Look]) -> None:
    """Above all panels, methods in their order. ``handles``: by label, of those that are drawn."""
    labels = [look.label for look in names.values() if look.label in handles]
    drawn = [handles[label] for label in labels]
    figure.legend(drawn, labels, loc="outside upper center", ncols=min(4, len(labels)))


def _scale(measure: Measure) -> float:
    return 100.0 if measure.unit == "%" else 1.0


def _sentence(title: str) -> str:
    return title[0].upper() + title[1:]
