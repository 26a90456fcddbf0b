# SPDX-License-Identifier: Apache-2.0
"""All systems over all scenes: rankings, spreads, cumulative errors, before and after."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from msdet.evaluation.report.content import ReportContent
from msdet.evaluation.report.looks import draw_line, draw_points
from msdet.evaluation.report.svg import INK, QUIET, Plot, colour_of, drawn, printable
from msdet.evaluation.report.tables import errors_of, scene_means
from msdet.evaluation.report.wording import edges, finite, quantity

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

GAIN = "si_sdr_improvement_db"
ERROR = "azimuth_error_median_deg"

_MOST_POINTS = 400  # of a system's scatter: more would hide each other
_LONGEST_NAME = 30


def overall_plots(content: ReportContent) -> list[Plot]:
    """All systems over all scenes."""
    found = [
        _ranking(content, GAIN, "gain"),
        _ranking(content, ERROR, "error"),
        _spread(content),
        _cumulative(content),
    ]
    return [plot for plot in found if plot is not None]


def before_and_after(content: ReportContent) -> list[Plot]:
    """Return a plot of SI-SDR before and after for each system that changes the mixture."""
    points = {}
    for name in content.systems:
        before = scene_means(content, name, "si_sdr_unprocessed")
        gains = scene_means(content, name, "si_sdr_improvement")
        if any(gains.values()) and content.tells(name, GAIN):
            points[name] = np.array([(before[i], before[i] + gain) for i, gain in gains.items()])
    if not points:
        return []
    everything = np.concatenate(list(points.values()))
    limits = float(np.floor(everything.min() - 1)), float(np.ceil(everything.max() + 1))
    return [
        _scatter(content.systems.index(name), name, pairs, limits) for name, pairs in points.items()
    ]


def _ranking(content: ReportContent, key: str, stem: str) -> Plot | None:
    """Values and intervals, a line for each system."""
    kind = quantity(key)
    shown: list[tuple[int, str, float, float, float]] = []  # without interval: its value thrice
    for index, name in enumerate(content.systems):
        summary, own = content.summary_of(name), content.number(name, key)
        value = finite(summary.get(own))
        if value is not None and content.tells(name, key):
            low, high = edges((summary.get("intervals") or {}).get(own))
            ends = (value, value) if low is None or high is None else (low, high)
            shown.append((index, name, value, *ends))
    if not shown:
        return None

    def draw(figure: Figure) -> None:
        axes = _lines_of_systems(figure, [name for _, name, *_ in shown], kind.title)
        for place, (index, _, value, low, high) in enumerate(shown):
            axes.plot([low, high], [place] * 2, "-", color=colour_of(index), linewidth=2.0)
            draw_points(axes, [value], [place], index, size=7.5)
            axes.annotate(
                kind.text(value),
                (max(value, high), place),
                xytext=(7, 0),
                textcoords="offset points",
                va="center",
                color=INK,
                fontsize=9.0,
            )
        ends = [end for _, _, *values in shown for end in values]
        first, last = min(min(ends), 0.0), max(max(ends), 0.0)
        span = last - first or 1.0
        axes.set_xlim(first - (0.04 * span if first < 0 else 0.0), last + 0.14 * span)
        if first < 0:
            axes.axvline(0.0, color=QUIET, linewidth=0.8)

    words = "; ".join(
        f"{name} {kind.text(value)}" + (f" ({kind.interval([low, high])})" if low < high else "")
        for _, name, value, low, high in shown
    )
    svg = drawn(draw, f"ranking-{stem}", 0.75 + 0.3 * len(shown), f"{kind.title}: {words}.")
    return Plot(kind.heading, svg, "Lines: 95 % intervals over scenes." if "(" in words else "")


def _spread(content: ReportContent) -> Plot | None:
    """Improvement of every scene: dots, and quartiles as a box."""
    shown = []
    for index, name in enumerate(content.systems):
        gains = list(scene_means(content, name, "si_sdr_improvement").values())
        if gains and content.tells(name, GAIN):
            shown.append((index, name, np.array(gains), np.percentile(gains, [25, 50, 75])))
    if not shown:
        return None

    def draw(figure: Figure) -> None:
        axes = _lines_of_systems(figure, [name for _, name, *_ in shown], quantity(GAIN).title)
        for place, (index, _, gains, (low, middle, high)) in enumerate(shown):
            dots = _thinned(gains)
            # The golden ratio spreads neighbours evenly and needs no random numbers.
            offsets = (np.arange(len(dots)) * 0.618034 % 1.0 - 0.5) * 0.5
            dot: dict[str, Any] = {"markersize": 2.6, "markeredgewidth": 0, "alpha": 0.45}
            axes.plot(dots, place + offsets, "o", color=colour_of(index), **dot)
            box = place + np.array([-1, -1, 1, 1, -1]) * 0.33
            axes.plot([low, high, high, low, low], box, "-", color=INK, linewidth=1.1)
            axes.plot([middle] * 2, [place - 0.33, place + 0.33], "-", color=INK, linewidth=2.2)
        axes.axvline(0.0, color=QUIET, linewidth=0.8)

    words = "; ".join(
        f"{name} median {middle:.1f}, a quarter of them below {low:.1f}, a quarter above "
        f"{high:.1f} dB"
        for _, name, _, (low, middle, high) in shown
    )
    svg = drawn(draw, "spread", 0.75 + 0.36 * len(shown), f"SI-SDR improvement of scenes: {words}.")
    note = "A dot is a scene; a box holds the middle half."
    return Plot("SI-SDR improvement of each scene", svg, note)


def _cumulative(content: ReportContent) -> Plot | None:
    """Share of speakers whose azimuth is no further off than each angle."""
    shown, table = [], content.table
    for index, name in enumerate(content.systems):
        own = (table["system"] == name) & (table["quantity"] == errors_of(content, name))
        errors = np.sort(table.loc[own, "value"])
        if len(errors) and content.tells(name, ERROR):
            shown.append((index, name, errors))
    if not shown:
        return None
    last = float(np.clip(max(np.percentile(e, 95) for _, _, e in shown), 20.0, 90.0))
    last = 10.0 * math.ceil(last / 10.0)

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for index, _, errors in shown:
            share = 100.0 * np.arange(len(errors) + 1) / len(errors)
            inside = errors[errors <= last]
            x, y = [0.0, *inside, last], [*share[: len(inside) + 1], share[len(inside)]]
            draw_line(axes, x, y, index, linewidth=1.7, drawstyle="steps-post")
            # Offset from system to system, so that no marker hides another.
            at = np.arange(1, 6) * last / 6 + (index % 10 - 4.5) * last / 75
            draw_points(axes, at, share[np.searchsorted(errors, at, side="right")], index)
        axes.set(xlim=(0, last), ylim=(0, 101))
        axes.set(xlabel="azimuth error (°)", ylabel="speakers no further off (%)")

    shares = (
        (
            name,
            ", ".join(f"{100 * (e <= most).mean():.0f} % within {most}°" for most in (5, 10, 15)),
        )
        for _, name, e in shown
    )
    words = "; ".join(f"{name} {found}" for name, found in shares)
    svg = drawn(draw, "cumulative", 3.3, f"Share of speakers by azimuth error: {words}.")
    note = "A speaker without an azimuth counts as 180° off."
    overlaid = tuple(index for index, *_ in shown)
    return Plot("Azimuth errors, cumulative", svg, note, overlaid=overlaid)


def _scatter(index: int, name: str, pairs: Any, limits: tuple[float, float]) -> Plot:
    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        axes.plot(limits, limits, "-", color=QUIET, linewidth=0.8)
        before, after = _thinned(pairs).T
        draw_points(axes, before, after, index, size=3.6, alpha=0.6)
        axes.set(xlim=limits, ylim=limits, aspect="equal")
        axes.set(xlabel="before (dB)", ylabel="after (dB)")

    better = f"{100 * float((pairs[:, 1] > pairs[:, 0]).mean()):.0f} %"
    words = (
        f"{name}: SI-SDR of {len(pairs)} scenes before and after, mean {pairs[:, 0].mean():.1f} "
        f"and {pairs[:, 1].mean():.1f} dB; {better} of the scenes got better."
    )
    svg = drawn(draw, f"scatter-{index}", 2.45, words, width=2.5)
    return Plot(name, svg, f"{better} of {len(pairs)} scenes better")


def _lines_of_systems(figure: Figure, names: list[str], label: str) -> Axes:
    """Axes with a line for each system, the first on top."""
    axes = figure.subplots()
    clean = [printable(name) for name in names]
    short = [n if len(n) <= _LONGEST_NAME else n[: _LONGEST_NAME - 1] + "…" for n in clean]
    axes.set_yticks(range(len(names)), short)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_xlabel(label)
    axes.grid(axis="y", visible=False)
    return axes


def _thinned(values: Any) -> Any:
    """Evenly chosen ones where there are too many to be told apart."""
    return values[:: math.ceil(len(values) / _MOST_POINTS)]
