# SPDX-License-Identifier: Apache-2.0
"""Tables, numbers and pictures in Markdown."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from msdet.evaluation.comparison import Measure
from msdet.evaluation.resampling import Estimate

NOTHING = "–"  # noqa: RUF001


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table; a bar in a cell does not end it."""
    lines = [head, ["---"] * len(head), *rows]
    cells = (" | ".join(cell.replace("|", "\\|") for cell in line) for line in lines)
    return "".join(f"| {line} |\n" for line in cells)


def heading(measure: Measure) -> str:
    """Of a measure's column."""
    return f"{measure.title}, {measure.unit}"


def number(found: Estimate | None, measure: Measure) -> str:
    """A method's own number with its interval."""
    if found is None or math.isnan(found.value):
        return NOTHING
    scale, digits = (100, 0) if measure.unit == "%" else (1, 2)
    value, low, high = (scale * x for x in (found.value, found.low, found.high))
    return f"{value:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def difference(found: Estimate | None, measure: Measure) -> str:
    """With its sign and interval; bold where that excludes zero."""
    if found is None or math.isnan(found.value):
        return NOTHING
    scale, digits = (100, 1) if measure.unit == "%" else (1, 2)
    value, low, high = (scale * x for x in (found.value, found.low, found.high))
    text = f"{value:+.{digits}f} [{low:+.{digits}f}, {high:+.{digits}f}]"
    return f"**{text}**" if found.excludes_zero else text


def picture(folder: Path, name: str, words: str) -> str:
    """A picture of a folder beside the page."""
    return f"\n![{words}]({folder.name}/{name})\n"
