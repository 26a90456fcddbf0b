# SPDX-License-Identifier: Apache-2.0
"""Figures as PNG files: their style, and how they are made and saved.

Drawn off-screen; colours from the palette of Okabe and Ito, which colour-blind readers can tell
apart, and never colour alone: truth and estimate differ in shape and filling too. matplotlib is
imported inside the functions, since only the process that draws needs it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec

from numpy.typing import NDArray

from msdet.files import write_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure

P = ParamSpec("P")

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""One for each speaker: blue, vermilion, green, purple, orange, sky (Okabe and Ito)."""

GREY = "#666666"
DOTS_PER_INCH = 150

_STYLE: dict[Any, Any] = {
    "font.size": 10.0,
    "axes.titlesize": 11.0,
    "axes.labelsize": 10.0,
    "xtick.labelsize": 9.0,
    "ytick.labelsize": 9.0,
    "legend.fontsize": 9.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#DDDDDD",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "legend.frameon": False,
}


def styled(draw: Callable[P, None]) -> Callable[P, None]:
    """Draw under ``_STYLE``, whatever the user's matplotlibrc says."""

    @wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> None:
        import matplotlib

        with matplotlib.rc_context():
            matplotlib.rcdefaults()
            matplotlib.rcParams.update(_STYLE)
            draw(*args, **kwargs)

    return drawn


def grid_of_axes(
    rows: int, columns: int, size: tuple[float, float], *, share: bool = False
) -> tuple[Figure, NDArray[Any]]:
    """A figure and its axes ``[row, column]``."""
    figure = new_figure(size)
    return figure, figure.subplots(rows, columns, squeeze=False, sharex=share, sharey=share)


def new_figure(size: tuple[float, float]) -> Figure:
    """Not through pyplot: no window, no global list of figures that would keep them in memory."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, dpi=DOTS_PER_INCH, layout="constrained")
    figure.get_layout_engine().set(w_pad=0.08, h_pad=0.08)  # type: ignore[union-attr, call-arg]
    FigureCanvasAgg(figure)
    return figure


def save(figure: Figure, path: Path) -> None:
    """Write a PNG, whole or not at all; on a full disk the error names it."""
    content = BytesIO()
    # "tight": the constrained layout alone clips the angle labels of half a circle.
    figure.savefig(content, format="png", bbox_inches="tight", pad_inches=0.1)
    write_atomically(path, content.getvalue())
