# SPDX-License-Identifier: Apache-2.0
"""Systems over the groups of each condition."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from msdet.evaluation.report.content import ReportContent
from msdet.evaluation.report.looks import dash_of, draw_points
from msdet.evaluation.report.overall import ERROR, GAIN
from msdet.evaluation.report.svg import Plot, colour_of, drawn, printable
from msdet.evaluation.report.wording import finite, group_names, quantity

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def condition_plots(content: ReportContent) -> list[Plot]:
    """Improvement and azimuth error over the groups of each breakdown."""
    tables = {name: _shown_breakdowns(content, name) for name in content.systems}
    conditions = dict.fromkeys(condition for table in tables.values() for condition in table)
    found = (_condition(content, condition, tables) for condition in conditions)
    return [plot for plot in found if plot is not None]


def _shown_breakdowns(content: ReportContent, system: str) -> dict[str, list[dict[str, Any]]]:
    """A system's breakdowns, each entry with the numbers that it is shown by."""
    error = content.number(system, ERROR)
    return {
        condition: [
            {
                "group": entry.get("group"),
                "num_scenes": entry.get("num_scenes"),
                GAIN: entry.get(GAIN) if content.tells(system, GAIN) else None,
                ERROR: entry.get(error) if content.tells(system, ERROR) else None,
            }
            for entry in entries
        ]
        for condition, entries in (content.summary_of(system).get("breakdowns") or {}).items()
    }


def _condition(
    content: ReportContent, condition: str, tables: Mapping[str, Mapping[str, Any]]
) -> Plot | None:
    entries = {
        name: {str(entry.get("group")): entry for entry in table.get(condition) or ()}
        for name, table in tables.items()
    }
    groups = list(dict.fromkeys(group for table in entries.values() for group in table))
    measures = [
        key
        for key in (GAIN, ERROR)
        if any(finite(e.get(key)) is not None for t in entries.values() for e in t.values())
    ]
    if len(groups) < 2 or not measures:
        return None
    names, unit = group_names(groups)
    counts = [
        max(int(finite(t[group].get("num_scenes")) or 0) for t in entries.values() if group in t)
        for group in groups
    ]

    def draw(figure: Figure) -> None:
        grid = figure.subplots(len(measures), 1, sharex=True, squeeze=False)
        width = min(0.5, 0.07 * len(entries))
        for axes, key in zip(grid[:, 0], measures, strict=True):
            for index, table in enumerate(entries.values()):
                shift = width * ((index + 0.5) / len(entries) - 0.5)
                found = [
                    (place + shift, value)
                    for place, g in enumerate(groups)
                    if g in table and (value := finite(table[g].get(key))) is not None
                ]
                _series(axes, found, index, joined=bool(unit))
            axes.set_ylabel(_two_lines(quantity(key).title))
            axes.grid(axis="x", visible=False)
            bottom, top = axes.get_ylim()
            axes.set_ylim(min(0.0, bottom), top)
        labels = [f"{_wrapped(name)}\nn = {n}" for name, n in zip(names, counts, strict=True)]
        grid[-1, 0].set_xticks(range(len(groups)), labels)
        grid[-1, 0].set_xlim(-0.5, len(groups) - 0.5)
        heading = quantity(condition).heading
        grid[-1, 0].set_xlabel(
            f"{heading.lower() if heading[1:2].islower() else heading} ({unit})" if unit else ""
        )

    sentences = []
    for name, table in entries.items():
        values = [
            f"{group}: "
            + ", ".join(
                f"{quantity(key).heading} {quantity(key).text(table[group].get(key))}"
                for key in measures
            )
            for group in groups
            if group in table
        ]
        if values:
            sentences.append(f"{name}: " + "; ".join(values))
    heading = quantity(condition).heading
    stem = "condition-" + re.sub(r"\W", "-", condition)
    svg = drawn(
        draw, stem, 1.0 + 1.6 * len(measures), f"By {heading}. " + ". ".join(sentences) + "."
    )
    return Plot(
        heading, svg, overlaid=tuple(i for i, table in enumerate(entries.values()) if table)
    )


def _series(
    axes: Axes,
    found: Sequence[tuple[float, float]],
    index: int,
    *,
    joined: bool,
) -> None:
    """Values over groups; groups of an ordered quantity are joined."""
    if not found:
        return
    x, y = zip(*found, strict=True)
    if joined:
        dash = dash_of(index)
        (line,) = axes.plot(x, y, color=colour_of(index), linestyle=dash, linewidth=1.5)
        line.set_gid(f"series-{index}")
    draw_points(axes, x, y, index)


def _wrapped(text: str, width: int = 14) -> str:
    lines = [""]
    for word in printable(text).split():
        if lines[-1] and len(lines[-1]) + len(word) >= width:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return "\n".join(lines)


def _two_lines(title: str) -> str:
    head, _, tail = title.rpartition(" ")
    return f"{head}\n{tail}"
