# SPDX-License-Identifier: Apache-2.0
"""All systems over all scenes, over kinds of scenes, and the training, as plots."""

from __future__ import annotations

import math
import re
import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np

from msdet.evaluation.report.content import ERROR, GAIN, ReportContent
from msdet.evaluation.report.svg import (
    INK,
    QUIET,
    Plot,
    colour_of,
    draw_line,
    draw_points,
    drawn,
    printable,
)
from msdet.evaluation.report.wording import group_names, quantity
from msdet.metrics.measures import VALIDATION

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MOST_POINTS = 400  # of a system's scatter: more would hide each other
_LONGEST_NAME = 30


# --- all scenes ---------------------------------------------------------------------------


def overall_plots(content: ReportContent) -> list[Plot]:
    """All systems over all scenes."""
    return [
        *_ranking(content, GAIN, "gain"),
        *_ranking(content, ERROR, "error"),
        *_spread(content),
        *_cumulative(content),
    ]


def before_and_after(content: ReportContent) -> list[Plot]:
    """Return a plot of SI-SDR before and after for each system that changes the mixture."""
    points = {}
    for index, name in enumerate(content.systems):
        gains = content.scene_means(name, "si_sdr_improvement")
        if gains.any() and content.tells(name, GAIN):
            before = content.scene_means(name, "si_sdr_unprocessed")[gains.index]
            points[index] = np.stack([before, before + gains], axis=1)
    if not points:
        return []
    everything = np.concatenate(list(points.values()))
    limits = float(np.floor(everything.min() - 1)), float(np.ceil(everything.max() + 1))
    return [_scatter(i, content.systems[i], pairs, limits) for i, pairs in points.items()]


def _ranking(content: ReportContent, key: str, stem: str) -> list[Plot]:
    """Values and intervals, a line for each system."""
    kind, shown = quantity(key), list[tuple[int, str, float, list[float]]]()
    for index, name in enumerate(content.systems):
        value, ends = content.told(name, key)
        if value is not None:
            shown.append((index, name, value, ends))
    if not shown:
        return []

    def draw(figure: Figure) -> None:
        axes = lines_of_systems(figure, [name for _, name, *_ in shown], kind.title)
        for place, (index, _, value, ends) in enumerate(shown):
            axes.plot(ends, [place] * len(ends), "-", color=colour_of(index), linewidth=2.0)
            draw_points(axes, [value], [place], index, size=7.5)
            axes.annotate(
                kind.text(value),
                (max([value, *ends]), place),
                xytext=(7, 0),
                textcoords="offset points",
                va="center",
                fontsize=9.0,
            )
        drawn_numbers = [number for _, _, value, ends in shown for number in (value, *ends)]
        first, last = min(*drawn_numbers, 0.0), max(*drawn_numbers, 0.0)
        span = last - first or 1.0
        axes.set_xlim(first - (0.04 * span if first < 0 else 0.0), last + 0.14 * span)
        if first < 0:
            axes.axvline(0.0, color=QUIET, linewidth=0.8)

    cells = {name: kind.cell(value, ends) for _, name, value, ends in shown}
    words = "; ".join(f"{name} {of['text']} ({of['interval']})" for name, of in cells.items())
    words = f"{kind.title}: {words.replace(' ()', '')}."
    note = "Lines: 95 % intervals over scenes." if any(ends for *_, ends in shown) else ""
    return [
        Plot(kind.heading, drawn(draw, f"ranking-{stem}", 0.75 + 0.3 * len(shown), words), note)
    ]


def _spread(content: ReportContent) -> list[Plot]:
    """Improvement of every scene: dots, and quartiles as a box."""
    shown = []
    for index, name in enumerate(content.systems):
        gains = content.scene_means(name, "si_sdr_improvement").to_numpy()
        if len(gains) and content.tells(name, GAIN):
            shown.append((index, name, gains, np.percentile(gains, [25, 50, 75])))
    if not shown:
        return []

    def draw(figure: Figure) -> None:
        axes = lines_of_systems(figure, [name for _, name, *_ in shown], quantity(GAIN).title)
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
    return [Plot("SI-SDR improvement of each scene", svg, note)]


def _cumulative(content: ReportContent) -> list[Plot]:
    """Share of speakers whose azimuth is no further off than each angle."""
    shown = {}
    for index, name in enumerate(content.systems):
        errors = np.sort(content.values(name, content.errors_of(name))["value"])
        if len(errors) and content.tells(name, ERROR):
            shown[index] = errors
    if not shown:
        return []
    last = float(np.clip(max(np.percentile(e, 95) for e in shown.values()), 20.0, 90.0))
    last = 10.0 * math.ceil(last / 10.0)

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for index, errors in shown.items():
            share = 100.0 * np.arange(len(errors) + 1) / len(errors)
            inside = errors[errors <= last]
            x, y = [0.0, *inside, last], [*share[: len(inside) + 1], share[len(inside)]]
            draw_line(axes, x, y, index, linewidth=1.7, drawstyle="steps-post")
            # Offset from system to system, so that no marker hides another.
            at = np.arange(1, 6) * last / 6 + (index % 10 - 4.5) * last / 75
            draw_points(axes, at, share[np.searchsorted(errors, at, side="right")], index)
        axes.set(xlim=(0, last), ylim=(0, 101))
        axes.set(xlabel="azimuth error (°)", ylabel="speakers no further off (%)")

    words = "; ".join(
        f"{content.systems[index]} "
        + ", ".join(f"{100 * (e <= most).mean():.0f} % within {most}°" for most in (5, 10, 15))
        for index, e in shown.items()
    )
    svg = drawn(draw, "cumulative", 3.3, f"Share of speakers by azimuth error: {words}.")
    note = "A speaker without an azimuth counts as 180° off."
    return [Plot("Azimuth errors, cumulative", svg, note, overlaid=tuple(shown))]


def _scatter(index: int, name: str, pairs: Any, limits: tuple[float, float]) -> Plot:
    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        axes.plot(limits, limits, "-", color=QUIET, linewidth=0.8)
        before, after = _thinned(pairs).T
        draw_points(axes, before, after, index, size=3.6, alpha=0.6)
        axes.set(xlim=limits, ylim=limits, aspect="equal")
        axes.set(xlabel="before (dB)", ylabel="after (dB)")

    better = f"{100 * float((pairs[:, 1] > pairs[:, 0]).mean()):.0f} %"
    before, after = pairs.mean(axis=0)
    words = (
        f"{name}: SI-SDR of {len(pairs)} scenes before and after, mean {before:.1f} and "
        f"{after:.1f} dB; {better} of the scenes got better."
    )
    svg = drawn(draw, f"scatter-{index}", 2.45, words, width=2.5)
    return Plot(name, svg, f"{better} of {len(pairs)} scenes better")


def lines_of_systems(figure: Figure, names: list[str], label: str) -> Axes:
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


# --- kinds of scenes ----------------------------------------------------------------------


def condition_plots(content: ReportContent) -> list[Plot]:
    """Return plots of improvement and azimuth error over the groups of each breakdown."""
    breakdowns = [summary["breakdowns"] for summary in content.summary["systems"].values()]
    conditions = dict.fromkeys(condition for of_system in breakdowns for condition in of_system)
    return [plot for condition in conditions for plot in _condition(content, condition)]


def _condition(content: ReportContent, condition: str) -> list[Plot]:
    scenes: dict[str, int] = {}  # by group
    curves: dict[str, dict[int, dict[str, float]]] = {GAIN: {}, ERROR: {}}  # by system, group
    for index, (system, summary) in enumerate(content.summary["systems"].items()):
        for entry in summary["breakdowns"].get(condition, ()):
            group = entry["group"]
            scenes[group] = max(scenes.get(group, 0), entry["num_scenes"])
            for key, curve in curves.items():
                value = entry.get(content.number(system, key))
                if value is not None and content.tells(system, key):
                    curve.setdefault(index, {})[group] = value
    curves = {key: curve for key, curve in curves.items() if curve}
    if len(scenes) < 2 or not curves:
        return []
    names, unit = group_names(list(scenes))
    heading = quantity(condition).heading
    systems = sorted({index for curve in curves.values() for index in curve})

    def draw(figure: Figure) -> None:
        grid = figure.subplots(len(curves), 1, sharex=True, squeeze=False)[:, 0]
        for axes, (key, curve) in zip(grid, curves.items(), strict=True):
            width = min(0.5, 0.07 * len(content.systems))
            for index, values in curve.items():
                shift = width * ((index + 0.5) / len(content.systems) - 0.5)
                x = [place + shift for place, group in enumerate(scenes) if group in values]
                y = [values[group] for group in scenes if group in values]
                if unit:  # groups of an ordered quantity are joined
                    draw_line(axes, x, y, index, linewidth=1.5)
                draw_points(axes, x, y, index)
            axes.set_ylabel("\n".join(quantity(key).title.rsplit(" ", 1)))
            axes.grid(axis="x", visible=False)
            bottom, top = axes.get_ylim()
            axes.set_ylim(min(0.0, bottom), top)
        wrapped = ["\n".join(textwrap.wrap(printable(name), 14)) for name in names]
        labels = [f"{name}\nn = {n}" for name, n in zip(wrapped, scenes.values(), strict=True)]
        grid[-1].set_xticks(range(len(scenes)), labels)
        grid[-1].set_xlim(-0.5, len(scenes) - 0.5)
        lower = heading.lower() if heading[1:2].islower() else heading
        grid[-1].set_xlabel(f"{lower} ({unit})" if unit else "")

    words = ". ".join(
        f"{quantity(key).heading}, {content.systems[index]}: "
        + "; ".join(f"{group} {quantity(key).text(value)}" for group, value in values.items())
        for key, curve in curves.items()
        for index, values in curve.items()
    )
    stem = "condition-" + re.sub(r"\W", "-", condition)
    svg = drawn(draw, stem, 1.0 + 1.6 * len(curves), f"By {heading}. {words}.")
    return [Plot(heading, svg, overlaid=tuple(systems))]


# --- the training -------------------------------------------------------------------------


def training_plots(content: ReportContent) -> list[Plot]:
    """Return a plot for the loss and for each validation score that the history has."""
    names = ["loss", *(name for name in VALIDATION if not name.endswith("best_matched"))]
    return [plot for name in names for plot in _curves(content, name)]


def _curves(content: ReportContent, name: str) -> list[Plot]:
    kind = quantity(name)
    scale = 100.0 if kind.unit == "%" else 1.0
    curves: dict[str, list[tuple[float, float]]] = {}
    for label in ("training", "validation"):
        key = f"{label[:5]}_{name}"
        values = ((row["examples"], row.get(key)) for row in content.history)
        curves[label] = [(x, y) for x, y in values if y is not None and math.isfinite(y)]
    curves = {label: points for label, points in curves.items() if points}
    if max(map(len, curves.values()), default=0) < 2:
        return []

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for label, points in curves.items():
            x, y = np.transpose(points)
            index, style = (0, "o-") if label == "validation" else (1, "--")
            colour = colour_of(index)
            axes.plot(x, scale * y, style, color=colour, markersize=3.5, label=label)
        axes.set(xlabel="examples", ylabel=kind.title)
        axes.set_xlim(left=0)
        if len(curves) > 1:
            axes.legend(frameon=False)

    words = "; ".join(
        f"{label} from {kind.text(points[0][1])} to {kind.text(points[-1][1])}"
        for label, points in curves.items()
    )
    return [Plot(kind.heading, drawn(draw, f"training-{name}", 2.4, f"{kind.title}: {words}."))]
