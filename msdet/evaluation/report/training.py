# SPDX-License-Identifier: Apache-2.0
"""The training that made the main system: losses and validation scores over its examples."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from msdet.evaluation.report.content import ReportContent
from msdet.evaluation.report.svg import Plot, colour_of, drawn
from msdet.evaluation.report.wording import quantity
from msdet.metrics.measures import VALIDATION

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_KINDS = {"train": "training", "valid": "validation"}


def training_plots(content: ReportContent) -> list[Plot]:
    """Return a plot for the loss and for each validation score that the history has."""
    names = ["loss", *(name for name in VALIDATION if not name.endswith("best_matched"))]
    found = (_curves(content, name) for name in names)
    return [plot for plot in found if plot is not None]


def _curves(content: ReportContent, name: str) -> Plot | None:
    curves: dict[str, list[tuple[float, float]]] = {}
    for row in content.history:
        for kind in _KINDS:
            value = row.get(f"{kind}_{name}")
            if value is not None and math.isfinite(value):
                curves.setdefault(kind, []).append((row["examples"], value))
    if max((len(points) for points in curves.values()), default=0) < 2:
        return None
    words = quantity(name)
    scale = 100.0 if words.unit == "%" else 1.0

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for split, points in sorted(curves.items()):
            x, y = zip(*points, strict=True)
            colour = colour_of(0 if split == "valid" else 1)
            style = "o-" if split == "valid" else "--"
            label = _KINDS[split]
            axes.plot(x, [scale * v for v in y], style, color=colour, markersize=3.5, label=label)
        axes.set_xlabel("examples")
        axes.set_ylabel(words.title)
        axes.set_xlim(left=0)
        if len(curves) > 1:
            axes.legend(frameon=False)

    told = "; ".join(
        f"{_KINDS[split]} from {words.text(points[0][1])} to {words.text(points[-1][1])}"
        for split, points in curves.items()
    )
    return Plot(words.heading, drawn(draw, f"training-{name}", 2.4, f"{words.title}: {told}."))
