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
_FROM_TO = f"{{}}{DASH}{{}}"


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
    """Short names of a breakdown's groups, and the unit that all share (empty: none)."""
    patterns = (
        (r"(-?[\d.]+) to (-?[\d.]+) ?(.*)", _FROM_TO),
        (r"under (-?[\d.]+) (.+)", "< {}"),
        (r"(-?[\d.]+) (.+) or more", "≥ {}"),
    )
    names, units = [], set()
    for group in groups:
        for pattern, form in patterns:
            found = re.fullmatch(pattern, group)
            if found:
                *numbers, unit = found.groups()
                names.append(_range(form, numbers))
                units.add(unit)
                break
    if len(names) == len(groups) and len(units) == 1:
        return names, _unit_in_words(units.pop())
    prefixes = {group.partition(": ")[0] for group in groups}
    if len(prefixes) == 1 and all(": " in group for group in groups):
        return group_names([group.partition(": ")[2] for group in groups])
    return groups, ""


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


def _range(form: str, numbers: list[str]) -> str:
    """``0–15``; with a negative end ``−5 to 0``, where a dash would be one stroke too many."""
    if form == _FROM_TO and any(number.startswith("-") for number in numbers):
        form = "{} to {}"
    return form.format(*(number.replace("-", MINUS) for number in numbers))


def _unit_in_words(unit: str) -> str:
    """The unit of the groups' names alone: the condition's name stands beside it already."""
    if unit == "deg apart":
        return "degrees"
    return unit.split()[0] if unit else "value"
