# SPDX-License-Identifier: Apache-2.0
"""Numbers with what is allowed of them, and tables in Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike


@dataclass(frozen=True)
class Check:
    """A number, and how far from zero it may be; None: it is only told."""

    what: str
    value: float
    unit: str
    tolerance: float | None = None
    digits: int = 2

    @property
    def passed(self) -> bool:
        """Not a number is not within any tolerance."""
        return self.tolerance is None or abs(self.value) <= self.tolerance

    def cells(self) -> list[str]:
        """Of its row in a table."""
        allowed = "" if self.tolerance is None else f"{self.tolerance:g} {self.unit}".strip()
        verdict = "" if self.tolerance is None else "yes" if self.passed else "**no**"
        return [self.what, f"{self.value:.{self.digits}f} {self.unit}".strip(), allowed, verdict]


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """In Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(cells) + " |\n" for cells in lines)


def middle(values: ArrayLike, digits: int = 2) -> str:
    """5 %, median and 95 %, as words."""
    return " / ".join(f"{v:.{digits}f}" for v in np.percentile(values, [5, 50, 95]))
