# SPDX-License-Identifier: Apache-2.0
"""Systems over the groups of each condition."""

from __future__ import annotations

import re
import textwrap
from typing import TYPE_CHECKING

from msdet.evaluation.report.content import ReportContent
from msdet.evaluation.report.looks import draw_line, draw_points
from msdet.evaluation.report.overall import ERROR, GAIN
from msdet.evaluation.report.svg import Plot, drawn, printable
from msdet.evaluation.report.wording import finite, group_names, quantity

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def condition_plots(content: ReportContent) -> list[Plot]:
    """Return plots of improvement and azimuth error over the groups of each breakdown."""
    breakdowns = [content.summary_of(name).get("breakdowns") or {} for name in content.systems]
    conditions = dict.fromkeys(condition for of_system in breakdowns for condition in of_system)
    found = (_condition(content, condition) for condition in conditions)
    return [plot for plot in found if plot is not None]


def _condition(content: ReportContent, condition: str) -> Plot | None:
    entries: dict[str, dict[str, dict[str, float | None]]] = {}  # by system, group and measure
    scenes: dict[str, float] = {}
    for name in content.systems:
        keys = {k: content.number(name, k) for k in (GAIN, ERROR) if content.tells(name, k)}
        entries[name] = {}
        for entry in (content.summary_of(name).get("breakdowns") or {}).get(condition, ()):
            group = str(entry.get("group"))
            entries[name][group] = {k: finite(entry.get(own)) for k, own in keys.items()}
            scenes[group] = max(scenes.get(group, 0), finite(entry.get("num_scenes")) or 0)
    groups = list(scenes)
    measures = [
        key
        for key in (GAIN, ERROR)
        if any(e.get(key) is not None for table in entries.values() for e in table.values())
    ]
    if len(groups) < 2 or not measures:
        return None
    names, unit = group_names(groups)
    heading = quantity(condition).heading

    def draw(figure: Figure) -> None:
        grid = figure.subplots(len(measures), 1, sharex=True, squeeze=False)
        width = min(0.5, 0.07 * len(entries))
        for axes, key in zip(grid[:, 0], measures, strict=True):
            for index, table in enumerate(entries.values()):
                shift = width * ((index + 0.5) / len(entries) - 0.5)
                found = [
                    (place + shift, value)
                    for place, group in enumerate(groups)
                    if (value := table.get(group, {}).get(key)) is not None
                ]
                if not found:
                    continue
                x, y = zip(*found, strict=True)
                if unit:  # groups of an ordered quantity are joined
                    draw_line(axes, x, y, index, linewidth=1.5)
                draw_points(axes, x, y, index)
            axes.set_ylabel("\n".join(quantity(key).title.rsplit(" ", 1)))
            axes.grid(axis="x", visible=False)
            bottom, top = axes.get_ylim()
            axes.set_ylim(min(0.0, bottom), top)
        wrapped = ["\n".join(textwrap.wrap(printable(name), 14)) for name in names]
        labels = [f"{name}\nn = {n:g}" for name, n in zip(wrapped, scenes.values(), strict=True)]
        grid[-1, 0].set_xticks(range(len(groups)), labels)
        grid[-1, 0].set_xlim(-0.5, len(groups) - 0.5)
        lower = heading.lower() if heading[1:2].islower() else heading
        grid[-1, 0].set_xlabel(f"{lower} ({unit})" if unit else "")

    told = [
        f"{name}: "
        + "; ".join(
            f"{group}: "
            + ", ".join(f"{quantity(k).heading} {quantity(k).text(e.get(k))}" for k in measures)
            for group, e in table.items()
        )
        for name, table in entries.items()
        if table
    ]
    stem = "condition-" + re.sub(r"\W", "-", condition)
    svg = drawn(draw, stem, 1.0 + 1.6 * len(measures), f"By {heading}. {'. '.join(told)}.")
    return Plot(
        heading, svg, overlaid=tuple(i for i, table in enumerate(entries.values()) if table)
    )
