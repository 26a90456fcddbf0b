# SPDX-License-Identifier: Apache-2.0
"""Names of measures and labels, and numbers, as the page writes them."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from msdet.metrics import MEASURES, Measure
from msdet.metrics.measures import DASH
from msdet.metrics.measures import quantity as registered

MINUS = "\N{MINUS SIGN}"
_RANGE = re.compile(
    r"(?:(?P<low>-?[\d.]+) to (?P<high>-?[\d.]+)|under (?P<below>-?[\d.]+)|(?P<above>-?[\d.]+))"
    r" ?(?P<unit>.*?)(?(above) or more)"
)
_IN_WORDS = {"deg apart": "degrees", "": "value"}


@dataclass(frozen=True)
class Words:
    """The words of a quantity: ``unit`` is ``%`` for a share of 0 to 1."""

    heading: str
    unit: str = ""
    digits: int = 1

    @property
    def title(self) -> str:
        """Heading with its unit in brackets."""
        return f"{self.heading} ({self.unit})" if self.unit else self.heading

    def text(self, value: float | None) -> str:
        """A value with its digits, without its unit; a dash where there is none."""
        if value is None or not math.isfinite(value):
            return DASH
        return f"{value * (100 if self.unit == '%' else 1):z.{self.digits}f}".replace("-", MINUS)

    def cell(self, value: float | None, ends: Sequence[float]) -> dict[str, Any]:
        """A value and the ends of its interval, which may be none, for a table."""
        interval = " to ".join(map(self.text, ends))
        return {"value": value, "text": self.text(value), "interval": interval}


def quantity(name: str, measures: Mapping[str, Measure] = MEASURES) -> Words:
    """Return how a measure or label reads here; directions read alike, however matched."""
    known = registered(name, measures)
    title = known.title.removesuffix(", as claimed").removesuffix(", best matched")
    return Words(title[:1].upper() + title[1:], known.unit.replace("deg", "°"), known.digits)


def group_names(groups: list[str]) -> tuple[list[str], str]:
    """Return short names of a breakdown's groups, and the unit that all share (empty: none)."""
    prefixes = {group.partition(": ")[0] for group in groups}
    if len(prefixes) == 1 and all(": " in group for group in groups):
        return group_names([group.partition(": ")[2] for group in groups])
    found = [match for group in groups if (match := _RANGE.fullmatch(group))]
    units = {match["unit"] for match in found}
    if len(found) < len(groups) or len(units) != 1:
        return groups, ""
    unit = units.pop()
    # The name of the condition stands beside its unit already.
    return [_short(match) for match in found], _IN_WORDS.get(unit) or unit.split()[0]


def _short(match: re.Match[str]) -> str:
    """``0–15``; with a negative end ``−5 to 0``, where a dash would be one stroke too many."""
    low, high, below, above = match.group("low", "high", "below", "above")
    to = " to " if "-" in f"{low}{high}" else DASH
    text = f"< {below}" if below else f"≥ {above}" if above else f"{low}{to}{high}"
    return text.replace("-", MINUS)
