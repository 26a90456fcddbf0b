# SPDX-License-Identifier: Apache-2.0
"""How names of measures and labels, and numbers, read on the page."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

DASH = "\N{EN DASH}"
MINUS = "\N{MINUS SIGN}"
TIMES = "\N{MULTIPLICATION SIGN}"
_FROM_TO = f"{{}}{DASH}{{}}"


@dataclass(frozen=True)
class Quantity:
    """How a quantity reads: ``unit`` is ``%`` for a share of 0 to 1."""

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


QUANTITIES = {
    "si_sdr_improvement_db": Quantity("SI-SDR improvement", "dB"),
    "si_sdr_db": Quantity("SI-SDR", "dB"),
    "sdr_db": Quantity("SDR", "dB"),
    "sir_improvement_db": Quantity("SIR improvement", "dB"),
    "sar_db": Quantity("SAR", "dB"),
    "estoi": Quantity("ESTOI", "", 2),
    "pesq_nb": Quantity("PESQ, narrow-band", "", 2),
    "pesq_wb": Quantity("PESQ, wide-band", "", 2),
    "dnsmos": Quantity("DNSMOS", "", 2),
    "wer": Quantity("Word error rate", "%"),
    "azimuth_error_median_deg": Quantity("Azimuth error, median", "°"),
    "azimuth_within_10deg": Quantity("Azimuths within 10°", "%", 0),
    "wrong_slot_rate": Quantity("Wrong slot", "%", 0),
    "order_accuracy": Quantity("Order right", "%", 0),
    "missed_rate": Quantity("Speakers missed", "%", 0),
    "invented_rate": Quantity("Outputs invented", "%", 0),
    "distance_error_median_m": Quantity("Distance error, median", "m", 2),
    "real_time_factor": Quantity("Real-time factor", "", 2),
    # labels and breakdowns
    "angle": Quantity("Angle between speakers", "°", 0),
    "opposition": Quantity("Opposite speakers"),
    "seam": Quantity("A speaker near 0°"),
    "t60": Quantity("T60", "s", 2),
    "snr": Quantity("SNR", "dB", 0),
    "snr_db": Quantity("SNR", "dB", 0),
    "distance": Quantity("Distance", "m", 1),
    "num_speakers": Quantity("Number of speakers", "", 0),
    "drr": Quantity("Direct to reverberant", "dB"),
    "drr_db": Quantity("Direct to reverberant", "dB"),
    "sir": Quantity("Level against the others", "dB"),
    "sir_db": Quantity("Level against the others", "dB"),
    "sensor_snr_db": Quantity("SNR of sensors", "dB", 0),
    "overlap": Quantity("Overlap of speech", "%", 0),
    "elevation": Quantity("Elevation", "°", 0),
    "room_volume_m3": Quantity("Room", "m³", 0),
}

_UNITS = {"db": "dB", "deg": "°", "m": "m", "s": "s", "hz": "Hz", "ms": "ms", "m3": "m³"}


BEST_MATCHED = "_best_matched"
"""Ends the key of an error in directions that were matched with speakers by themselves."""


def quantity(name: str) -> Quantity:
    """What a measure or label is called; one that is not known is named after its key."""
    if (plain := name.removesuffix(BEST_MATCHED)) in QUANTITIES:
        return QUANTITIES[plain]
    stem, _, ending = name.rpartition("_")
    if stem and ending in _UNITS:
        return Quantity(_sentence(stem), _UNITS[ending])
    if name.endswith(("_rate", "_share", "_accuracy")):
        return Quantity(_sentence(name), "%", 0)
    return Quantity(_sentence(name), "", 2)


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


def _sentence(name: str) -> str:
    text = name.replace("_", " ").strip()
    return text[:1].upper() + text[1:]


def _unit_in_words(unit: str) -> str:
    """Of the groups' names: the condition's name stands beside it already."""
    if unit == "deg apart":
        return "degrees"
    return unit.split()[0] if unit else "value"
