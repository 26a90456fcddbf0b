# SPDX-License-Identifier: Apache-2.0
"""Plots as SVG that takes its colours from the page's style sheet, and the looks of systems.

matplotlib draws with stand-in colours, which become CSS variables (``--series-0``, ``--ink``), so
that one drawing reads in light, in dark and on paper. Text stays text. The same numbers give the
same bytes. Each system has a colour, a marker and a dash of its own in every plot.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup, escape

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SERIES_COLOURS, SPEAKER_COLOURS = 8, 6
"""Numbers of colours ``--series-N`` and ``--speaker-N`` in the style sheet, which start over."""

INK, QUIET, _GRID, PAPER, ON_SPEAKER = "#010203", "#010204", "#010205", "#010206", "#010207"
_STAND_INS = {
    INK: "--ink",
    QUIET: "--quiet",
    _GRID: "--grid",
    PAPER: "--card",
    ON_SPEAKER: "--on-speaker",
    **{f"#0a0b{i:02x}": f"--series-{i}" for i in range(SERIES_COLOURS)},
    **{f"#0a0c{i:02x}": f"--speaker-{i}" for i in range(SPEAKER_COLOURS)},
}
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.size": 9.5,
    "axes.labelsize": 9.5,
    "xtick.labelsize": 9.0,
    "ytick.labelsize": 9.0,
    "text.color": INK,
    "axes.labelcolor": INK,
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "axes.edgecolor": QUIET,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": _GRID,
    "grid.linewidth": 0.7,
    "xtick.major.size": 0.0,
    "ytick.major.size": 0.0,
    "xtick.major.pad": 5.0,
    "ytick.major.pad": 5.0,
}
_WIDTH = 4.7  # inches: 338 units, about as many as the pixels of a phone, so text keeps its size
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


@dataclass(frozen=True)
class Plot:
    """A drawing with its heading and a note.

    Attributes:
        overlaid: indices of the systems that lie over one another there and need a legend.
    """

    heading: str
    svg: Markup
    note: str = ""
    overlaid: tuple[int, ...] = ()


def drawn(
    draw: Callable[[Figure], None],
    stem: str,
    height: float,
    words: str,
    width: float = _WIDTH,
    css: str = "chart",
) -> Markup:
    """Return a figure that ``draw`` fills, as inline SVG; ``stem`` makes its ids its own.

    Groups with the id ``series-N`` become classes; those with ``system-N``, or ``system-N-off``
    where they start hidden, become ``data-system``.
    """
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*[Gg]lyph.*")  # the reader's fonts have them
        matplotlib.rcdefaults()
        matplotlib.rcParams.update({**_STYLE, "svg.hashsalt": stem})
        figure = Figure(figsize=(width, height), layout="constrained")
        draw(figure)
        buffer = BytesIO()
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(buffer, format="svg", transparent=True, metadata=nothing)
    svg = buffer.getvalue().decode()
    inner = svg[svg.index(">", svg.index("<svg")) + 1 : svg.rindex("</svg>")]
    for pattern, replacement in (
        (r"<defs>\s*<style.*?</style>\s*</defs>", ""),  # the page's own style holds
        (r"font-family: [^;\"]*;? ?", ""),
        (r'<g id="(series-\d+)">', r'<g class="\1">'),
        (r'<g id="system-(\d+)">', r'<g data-system="\1">'),
        (r'<g id="system-(\d+)-off">', r'<g data-system="\1" class="off">'),
        (r' id="(figure|axes|patch|line2d|text|xtick|ytick|matplotlib)[^"]*"', ""),
        ("xlink:href", "href"),
        (r"(?<=\d\.\d\d)\d+", ""),
        (r"\s*\n\s*", " "),
        *((stand_in, f"var({variable})") for stand_in, variable in _STAND_INS.items()),
    ):
        inner = re.sub(pattern, replacement, inner, flags=re.S)
    box = f"0 0 {72 * width:g} {72 * height:g}"
    label = escape(printable(words))
    return Markup(
        f'<svg class="{css}" viewBox="{box}" role="img" aria-label="{label}">{inner}</svg>'
    )


def printable(text: str) -> str:
    """Without control characters, which XML does not know."""
    return re.sub(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]", " ", text)


def colour_of(index: int) -> str:
    """The stand-in for the colour of system ``index``."""
    return f"#0a0b{index % SERIES_COLOURS:02x}"


def speaker_colour(index: int | None) -> str:
    """The stand-in for the colour of speaker ``index``; a quiet one for nobody."""
    return QUIET if index is None else f"#0a0c{index % SPEAKER_COLOURS:02x}"


def draw_points(
    axes: Axes, x: Any, y: Any, index: int, *, size: float = 5.0, alpha: float = 1.0
) -> None:
    """Draw the markers of system ``index``; of every second one hollow, which shows in print."""
    colour, hollow = colour_of(index), index % 2 == 1
    look: dict[str, Any] = {
        "color": colour,
        "markerfacecolor": PAPER if hollow else colour,
        "markeredgewidth": 1.2 if hollow else 0.6,
    }
    kind, group = _MARKERS[index % len(_MARKERS)], f"series-{index}"
    axes.plot(x, y, kind, gid=group, markersize=size, alpha=alpha, zorder=3, **look)


def draw_line(axes: Axes, x: Any, y: Any, index: int, **look: Any) -> None:
    """Draw the line of system ``index``."""
    dash = _DASHES[index % len(_DASHES)]
    axes.plot(x, y, gid=f"series-{index}", color=colour_of(index), linestyle=dash, **look)


def legend(systems: Sequence[str]) -> list[dict[str, Any]]:
    """Return each system's name and a sample of its line and marker, as SVG path data."""
    from matplotlib.markers import MarkerStyle
    from matplotlib.transforms import Affine2D

    entries = []
    for index, name in enumerate(systems):
        style, dash = MarkerStyle(_MARKERS[index % len(_MARKERS)]), _DASHES[index % len(_DASHES)]
        fine = style.get_transform() + Affine2D().scale(70, -70)  # for curves made of lines
        outline = np.asarray(style.get_path().transformed(fine).to_polygons()[0])
        entries.append(
            {
                "index": index,
                "name": name,
                "colour": index % SERIES_COLOURS,
                "path": "M" + "L".join(f"{x / 10:.2f} {y / 10:.2f}" for x, y in outline) + "Z",
                "dashes": "" if dash == "solid" else " ".join(f"{2 * d:g}" for d in dash[1]),
                "hollow": index % 2 == 1,
            }
        )
    return entries
