# SPDX-License-Identifier: Apache-2.0
"""Names of measures and labels, and numbers, as the page writes them."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from msdet.metrics import MEASURES, Measure
from msdet.metrics.measures import DASH
from msdet.metrics.measures import quantity as registered

MINUS = "\N{MINUS SIGN}"
TIMES = "\N{MULTIPLICATION SIGN}"
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

    def text(self, value: Any) -> str:
        """A value with its digits, without its unit; a dash where there is none."""
        number = finite(value)
        if number is None:
            return DASH
        shown = f"{number * (100 if self.unit == '%' else 1):.{self.digits}f}"
        shown = shown.removeprefix("-") if not float(shown) else shown
        return shown.replace("-", MINUS)

    def interval(self, pair: Any) -> str:
        """``low to high``; empty where there is none."""
        low, high = edges(pair)
        return "" if low is None or high is None else f"{self.text(low)} to {self.text(high)}"


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
    found = [_RANGE.fullmatch(group) for group in groups]
    units = {match["unit"] for match in found if match}
    if not all(found) or len(units) != 1:
        return groups, ""
    unit = units.pop()
    # The name of the condition stands beside its unit already.
    return [_short(match) for match in found if match], _IN_WORDS.get(unit) or unit.split()[0]


def _short(match: re.Match[str]) -> str:
    """``0–15``; with a negative end ``−5 to 0``, where a dash would be one stroke too many."""
    low, high, below, above = (match[name] for name in ("low", "high", "below", "above"))
    signed = "-" in f"{low}{high}"
    text = f"< {below}" if below else f"≥ {above}" if above else f"{low}{DASH}{high}"
    return (text.replace(DASH, " to ") if signed else text).replace("-", MINUS)


def finite(value: Any) -> float | None:
    """The number, or None for what is none: null, NaN, a word."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return float(value) if isinstance(value, bool) else None
    return float(value) if math.isfinite(value) else None


def edges(pair: Any) -> tuple[float | None, float | None]:
    """Both ends of an interval, or two None."""
    if not isinstance(pair, list | tuple) or len(pair) != 2:
        return None, None
    low, high = finite(pair[0]), finite(pair[1])
    return (None, None) if low is None or high is None else (low, high)
