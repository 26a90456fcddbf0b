# SPDX-License-Identifier: Apache-2.0
"""The looks of a system in every plot: a colour, a marker and a dash of its own, and the legend."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from msdet.evaluation.report.content import ReportContent
from msdet.evaluation.report.svg import PAPER, SERIES_COLOURS, colour_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "*")
_DASHES: tuple[Any, ...] = (
    "solid",
    (0, (5, 1.5)),
    (0, (1.2, 1.2)),
    (0, (6, 1.5, 1.2, 1.5)),
    (0, (3, 1)),
    (0, (8, 2)),
    (0, (2, 2, 6, 2)),
)  # not as many as colours, or systems that share a colour would share their dashes


def legend(content: ReportContent) -> list[dict[str, Any]]:
    """Return each system's name and a sample of its line and marker."""
    from matplotlib.markers import MarkerStyle

    entries = []
    for index, name in enumerate(content.systems):
        style = MarkerStyle(_marker(index))
        outline = style.get_path().transformed(style.get_transform())
        path = _svg_path(7.0 * np.asarray(outline.vertices), outline.codes)
        dash = _dash(index)
        dashes = "" if dash == "solid" else " ".join(f"{2 * d:g}" for d in dash[1])
        entries.append(
            {
                "index": index,
                "name": name,
                "colour": index % SERIES_COLOURS,
                "path": path,
                "dashes": dashes,
                "hollow": _hollow(index),
            }
        )
    return entries


def draw_points(
    axes: Axes, x: Any, y: Any, index: int, *, size: float = 5.0, alpha: float = 1.0
) -> None:
    """Draw the markers of system ``index``."""
    colour, hollow = colour_of(index), _hollow(index)
    look: dict[str, Any] = {
        "color": colour,
        "markerfacecolor": PAPER if hollow else colour,
        "markeredgecolor": colour,
        "markeredgewidth": 1.2 if hollow else 0.6,
    }
    kind, group = _marker(index), f"series-{index}"
    axes.plot(x, y, kind, gid=group, markersize=size, alpha=alpha, zorder=3, **look)


def draw_line(axes: Axes, x: Any, y: Any, index: int, **look: Any) -> None:
    """Draw the line of system ``index``."""
    color, dash = colour_of(index), _dash(index)
    axes.plot(x, y, gid=f"series-{index}", color=color, linestyle=dash, **look)


def _dash(index: int) -> Any:
    return _DASHES[index % len(_DASHES)]


def _marker(index: int) -> str:
    return _MARKERS[index % len(_MARKERS)]


def _hollow(index: int) -> bool:
    """Every second system: filled and hollow differ in print too."""
    return index % 2 == 1


def _svg_path(vertices: Any, codes: Any) -> str:
    """A matplotlib path as SVG path data, y down."""
    letters = {1: "M", 2: "L", 3: "Q", 4: "C", 79: "Z"}
    parts, last = [], None
    for place, (x, y) in enumerate(vertices):
        code = int(codes[place]) if codes is not None else (1 if place == 0 else 2)
        if code == 79:
            parts.append("Z")
        else:
            parts.append(f"{letters[code] if code != last or code < 3 else ''}{x:.2f} {-y:.2f} ")
        last = code
    return "".join(parts).strip()
