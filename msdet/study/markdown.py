# SPDX-License-Identifier: Apache-2.0
"""Tables, numbers and pictures in Markdown."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from msdet.metrics.bootstrap import Interval
from msdet.metrics.measures import Measure

NOTHING = "–"  # noqa: RUF001


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table; a bar in a cell does not end it."""
    lines = [head, ["---"] * len(head), *rows]
    cells = (" | ".join(cell.replace("|", "\\|") for cell in line) for line in lines)
    return "".join(f"| {line} |\n" for line in cells)


def heading(measure: Measure) -> str:
    """Of a measure's column."""
    return f"{measure.title}, {measure.unit}"


def number(found: Interval | None, measure: Measure) -> str:
    """A method's own number with its interval."""
    return _shown(found, measure, sign="")


def difference(found: Interval | None, measure: Measure) -> str:
    """With its sign and interval; bold where that excludes zero."""
    text = _shown(found, measure, sign="+")
    return f"**{text}**" if found is not None and found.excludes_zero else text


def _shown(found: Interval | None, measure: Measure, sign: str) -> str:
    """Shares are more finely told where they are differences. No interval where some resamples
    had nothing to average."""
    if found is None or math.isnan(found.value):
        return NOTHING
    scale, digits = (100, 1 if sign else 0) if measure.unit == "%" else (1, 2)
    value, low, high = (
        f"{scale * x:{sign}.{digits}f}" for x in (found.value, found.low, found.high)
    )
    return value if math.isnan(found.low) else f"{value} [{low}, {high}]"


def picture(folder: Path, name: str, words: str) -> str:
    """A picture of a folder beside the page."""
    return f"\n![{words}]({folder.name}/{name})\n"
