# SPDX-License-Identifier: Apache-2.0
"""All systems over all scenes: rankings, spreads, cumulative errors, before and after."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from msdet.evaluation.report.content import ReportContent
from msdet.evaluation.report.plots.looks import dash_of, draw_points
from msdet.evaluation.report.plots.svg import INK, QUIET, Plot, colour_of, drawn, printable
from msdet.evaluation.report.tables import errors_of, scene_means
from msdet.evaluation.report.wording import edges, finite, quantity

if TYPE_CHECKING:
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
    """Per system that does something: SI-SDR of each scene before and after."""
    points = {}
    for name in content.systems:
        before = scene_means(content, name, "si_sdr_unprocessed")
        gains = scene_means(content, name, "si_sdr_improvement")
        pairs = [(before[scene], before[scene] + gain) for scene, gain in gains.items()]
        if any(gains.values()) and content.tells(name, GAIN):
            points[name] = np.array(pairs)
    if not points:
        return []
    everything = np.concatenate(list(points.values()))
    low, high = np.floor(everything.min() - 1.0), np.ceil(everything.max() + 1.0)
    return [
        _scatter(content.systems.index(name), name, pairs, (float(low), float(high)))
        for name, pairs in points.items()
    ]


def _ranking(content: ReportContent, key: str, stem: str) -> Plot | None:
    """One line per system: its value and interval."""
    kind = quantity(key)
    shown = []
    for index, name in enumerate(content.systems):
        summary, own = content.summary_of(name), content.number(name, key)
        value = finite(summary.get(own))
        if value is not None and content.tells(name, key):
            shown.append((index, name, value, *edges((summary.get("intervals") or {}).get(own))))
    if not shown:
        return None

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for place, (index, _, value, low, high) in enumerate(shown):
            if low is not None and high is not None:
                axes.plot([low, high], [place] * 2, "-", color=colour_of(index), linewidth=2.0)
            draw_points(axes, [value], [place], index, size=7.5)
            end = max(v for v in (value, high) if v is not None)
            axes.annotate(
                kind.text(value),
                (end, place),
                xytext=(7, 0),
                textcoords="offset points",
                va="center",
                color=INK,
                fontsize=9.0,
            )
        axes.set_yticks(range(len(shown)), [_short(name) for _, name, *_ in shown])
        axes.set_ylim(len(shown) - 0.4, -0.6)
        axes.set_xlabel(kind.title)
        axes.grid(axis="y", visible=False)
        ends = [v for _, _, value, low, high in shown for v in (value, low, high) if v is not None]
        span = max(max(ends), 0.0) - min(min(ends), 0.0) or 1.0
        axes.set_xlim(min(min(ends) - 0.04 * span, 0.0), max(max(ends), 0.0) + 0.14 * span)
        if min(ends) < 0:
            axes.axvline(0.0, color=QUIET, linewidth=0.8)

    words = "; ".join(
        f"{name} {kind.text(value)}"
        + (f" ({kind.interval([low, high])})" if low is not None else "")
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
            shown.append((index, name, np.array(gains)))
    if not shown:
        return None

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for place, (index, _, gains) in enumerate(shown):
            dots = _thinned(gains)
            # The golden ratio spreads neighbours evenly and needs no random numbers.
            offsets = (np.arange(len(dots)) * 0.618034 % 1.0 - 0.5) * 0.5
            dot: dict[str, Any] = {"markersize": 2.6, "markeredgewidth": 0, "alpha": 0.45}
            axes.plot(dots, place + offsets, "o", color=colour_of(index), **dot)
            low, middle, high = np.percentile(gains, [25, 50, 75])
            axes.plot(
                [low, high, high, low, low],
                place + np.array([-1, -1, 1, 1, -1]) * 0.33,
                "-",
                color=INK,
                linewidth=1.1,
            )
            axes.plot([middle] * 2, [place - 0.33, place + 0.33], "-", color=INK, linewidth=2.2)
        axes.set_yticks(range(len(shown)), [_short(name) for _, name, _ in shown])
        axes.set_ylim(len(shown) - 0.4, -0.6)
        axes.set_xlabel(quantity(GAIN).title)
        axes.grid(axis="y", visible=False)
        axes.axvline(0.0, color=QUIET, linewidth=0.8)

    words = "; ".join(
        f"{name} median {np.median(g):.1f}, a quarter of them below {np.percentile(g, 25):.1f}, a "
        f"quarter above {np.percentile(g, 75):.1f} dB"
        for _, name, g in shown
    )
    svg = drawn(draw, "spread", 0.75 + 0.36 * len(shown), f"SI-SDR improvement of scenes: {words}.")
    return Plot(
        "SI-SDR improvement of each scene", svg, "A dot is a scene; a box holds the middle half."
    )


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
            inside = errors <= last
            x = np.concatenate([[0.0], errors[inside], [last]])
            y = np.concatenate([share[: inside.sum() + 1], [share[inside.sum()]]])
            group = f"series-{index}"
            (line,) = axes.plot(
                x,
                y,
                drawstyle="steps-post",
                color=colour_of(index),
                linestyle=dash_of(index),
                linewidth=1.7,
            )
            line.set_gid(group)
            # Offset from system to system, so that no marker hides another.
            at = np.arange(1, 6) * last / 6 + (index % 10 - 4.5) * last / 75
            draw_points(axes, at, share[np.searchsorted(errors, at, side="right")], index)
        axes.set(xlim=(0, last), ylim=(0, 101))
        axes.set_xlabel("azimuth error (°)")
        axes.set_ylabel("speakers no further off (%)")

    words = "; ".join(
        f"{name} "
        + ", ".join(
            f"{100 * (errors <= limit).mean():.0f} % within {limit}°" for limit in (5, 10, 15)
        )
        for _, name, errors in shown
    )
    svg = drawn(draw, "cumulative", 3.3, f"Share of speakers by azimuth error: {words}.")
    note = "A speaker without an azimuth counts as 180° off."
    return Plot(
        "Azimuth errors, cumulative", svg, note, overlaid=tuple(index for index, *_ in shown)
    )


def _scatter(index: int, name: str, pairs: Any, limits: tuple[float, float]) -> Plot:
    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        axes.plot(limits, limits, "-", color=QUIET, linewidth=0.8)
        before, after = _thinned(pairs).T
        draw_points(axes, before, after, index, size=3.6, alpha=0.6)
        axes.set(xlim=limits, ylim=limits, aspect="equal")
        axes.set_xlabel("before (dB)")
        axes.set_ylabel("after (dB)")

    better = float((pairs[:, 1] > pairs[:, 0]).mean())
    words = (
        f"{name}: SI-SDR of {len(pairs)} scenes before and after, mean {pairs[:, 0].mean():.1f} "
        f"and {pairs[:, 1].mean():.1f} dB; {100 * better:.0f} % of the scenes got better."
    )
    svg = drawn(draw, f"scatter-{index}", 2.45, words, width=2.5)
    return Plot(name, svg, f"{100 * better:.0f} % of {len(pairs)} scenes better")


def _thinned(values: Any) -> Any:
    """Evenly chosen ones where there are too many to be told apart."""
    step = math.ceil(len(values) / _MOST_POINTS)
    return values[::step]


def _short(name: str) -> str:
    clean = printable(name)
    return clean if len(clean) <= _LONGEST_NAME else clean[: _LONGEST_NAME - 1] + "…"
