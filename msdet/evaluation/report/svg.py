# SPDX-License-Identifier: Apache-2.0
"""A plot as SVG that takes its colours from the page's style sheet.

matplotlib draws with stand-in colours, which become CSS variables (``--series-0``, ``--ink``), so
that one drawing reads in light, in dark and on paper. Text stays text. The same numbers give the
same bytes.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any

from markupsafe import Markup, escape

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SERIES_COLOURS = 8
"""Number of colours ``--series-N`` in the style sheet."""

SPEAKER_COLOURS = 6
"""Number of colours ``--speaker-N`` in the style sheet; more speakers start over."""

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
_WIDTH = 4.7  # inches: 338 units, about as many as the pixels of a phone, so text keeps its size


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
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with matplotlib.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*[Gg]lyph.*")  # the reader's fonts have them
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_style(stem))
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasSVG(figure)
        draw(figure)
        buffer = BytesIO()
        figure.savefig(
            buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None}
        )
    return _inline(buffer.getvalue().decode(), stem, words, css)


def _style(stem: str) -> dict[Any, Any]:
    return {
        "svg.fonttype": "none",
        "svg.hashsalt": f"msdet-{stem}",
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


def _inline(svg: str, stem: str, words: str, css: str) -> Markup:
    """matplotlib's file as part of a page: own ids, CSS variables, the page's fonts."""
    body = svg[svg.index("<svg") :]
    box = re.search(r'viewBox="([^"]*)"', body)
    inner = body[body.index(">") + 1 : body.rindex("</svg>")]
    inner = re.sub(r"<metadata>.*?</metadata>", "", inner, flags=re.S)
    inner = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", inner, flags=re.S)
    inner = re.sub(r"font-family: [^;\"]*;? ?", "", inner)
    inner = re.sub(r'<g id="(series-\d+)">', r'<g class="\1">', inner)
    inner = re.sub(r'<g id="system-(\d+)">', r'<g data-system="\1">', inner)
    inner = re.sub(r'<g id="system-(\d+)-off">', r'<g data-system="\1" class="off">', inner)
    inner = re.sub(r' id="(figure|axes|patch|line2d|text|xtick|ytick|matplotlib)[^"]*"', "", inner)
    inner = re.sub(r'\bid="', f'id="{stem}-', inner)
    inner = inner.replace("url(#", f"url(#{stem}-").replace('xlink:href="#', f'href="#{stem}-')
    inner = re.sub(r"(?<=\d\.\d\d)\d+", "", inner)
    inner = re.sub(r"\s*\n\s*", " ", inner)
    for stand_in, variable in _STAND_INS.items():
        inner = inner.replace(stand_in, f"var({variable})")
    return Markup(
        f'<svg class="{css}" viewBox="{box[1] if box else ""}" role="img" '
        f'aria-label="{escape(printable(words))}">{inner}</svg>'
    )


def printable(text: str) -> str:
    """Without control characters, which XML does not know."""
    return re.sub(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]", " ", text)


def colour_of(index: int) -> str:
    """The stand-in for the colour of system ``index``."""
    return f"#0a0b{index % SERIES_COLOURS:02x}"


def speaker_colour(index: int) -> str:
    """The stand-in for the colour of speaker ``index``."""
    return f"#0a0c{index % SPEAKER_COLOURS:02x}"
