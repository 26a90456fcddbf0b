# SPDX-License-Identifier: Apache-2.0
"""The registry of measures: every number that systems are told by, its words, and how it is got.

``summary.json``, tables, report, comparisons, validation, sweeps and studies read names, titles,
units, digits and directions here. Metrics of signals are found by themselves: each module of
:mod:`msdet.metrics.signals` gives its own, and each metric gives three measures.
"""

from __future__ import annotations

import importlib
import math
import pkgutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from msdet.metrics import signals
from msdet.metrics.metric import Metric, say
from msdet.metrics.signals.error_parts import PARTS
from msdet.metrics.tracks import WITHIN_DEGREES

Statistic = Literal["mean", "median"]
BEST_MATCHED = "_best_matched"
"""Ends the name of an error in directions that were matched with speakers by themselves."""

DASH = "\N{EN DASH}"


@dataclass(frozen=True, kw_only=True)
class Quantity:
    """A number with a name: how it reads.

    Attributes:
        title: small letters, without the unit. unit: ``%`` for a share of 0 to 1, which is shown
            times 100. digits: behind the point.
    """

    name: str
    title: str
    unit: str = ""
    digits: int = 2

    @property
    def heading(self) -> str:
        """The title with its unit, for the head of a table."""
        return self.title if self.unit in ("", "%") else f"{self.title}, {self.unit}"

    def text(self, value: float | None) -> str:
        """Return a value as text, a share with its ``%``; empty for None and NaN."""
        if value is None or not math.isfinite(value):
            return ""
        share = self.unit == "%"
        return f"{value * (100 if share else 1):.{self.digits}f}{' %' if share else ''}"

    def interval(self, ends: Iterable[float] | None) -> str:
        """Return ``low to high``; empty for None."""
        return " to ".join(self.text(end) for end in ends or ())


Place = Literal["tables", "report", "comparison", "conditions", "validation"]


@dataclass(frozen=True, kw_only=True)
class Measure(Quantity):
    """A number of one system over many scenes, under its key in ``summary.json``.

    Attributes:
        quantity: what of the table of scores it is made of; empty for a number that is not got
            from there, but counted or timed. statistic: what is made of it.
        within: count the share of values at or below it, in place of the values.
        margin: differences that are smaller mean nothing in practice; None where none was set.
        metric: of the signals, that it belongs to; empty for others.
        short: its head on the screen. if_any: told only where it is not zero.
        places: where it is told: a column of all tables of systems or of the report's alone, in
            comparisons of systems, of kinds of scenes, and of each epoch of a training.
    """

    higher_is_better: bool = False
    quantity: str = ""
    statistic: Statistic = "mean"
    within: float | None = None
    margin: float | None = None
    metric: str = ""
    short: str = ""
    if_any: bool = False
    places: tuple[Place, ...] = ()

    def of(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the values that the statistic is taken of, any shape; NaN stays."""
        if self.within is None:
            return values
        return np.where(np.isnan(values), np.nan, (values <= self.within).astype(np.float64))


def _share(name: str, title: str, quantity: str, *places: Place, **more: Any) -> Measure:
    """A share of 0 to 1, the mean of what is 0, 1 or a share itself."""
    keys: dict[str, Any] = {"unit": "%", "digits": 0, "quantity": quantity, "places": places}
    return Measure(name=name, title=title, **keys, **more)


def _azimuth(suffix: str, words: str, short: str, *more: Place) -> list[Measure]:
    """Errors of directions: as the slot of a speaker claims them, or matched by themselves."""
    quantity = f"azimuth_error{suffix}"
    degrees: dict[str, Any] = {"unit": "deg", "digits": 1, "margin": 1.0, "quantity": quantity}
    told: tuple[Place, ...] = ("comparison", "conditions", *more)
    column: Place = "tables" if suffix == BEST_MATCHED else "report"
    return [
        Measure(
            name=f"azimuth_error_median_deg{suffix}",
            title=f"median azimuth error, {words}",
            short=f"error,\ndeg,\n{short}",
            statistic="median",
            places=("tables", "comparison", "conditions", "validation"),
            **degrees,
        ),
        Measure(
            name=f"azimuth_error_mean_deg{suffix}",
            title=f"mean azimuth error, {words}",
            places=("comparison",),
            **degrees,
        ),
        *(
            _share(
                f"azimuth_within_{limit}deg{suffix}",
                f"azimuths within {limit} degrees, {words}",
                quantity,
                *((column, *told) if limit == 10 else ()),
                short=f"within\n{limit} deg,\n{short}",
                higher_is_better=True,
                within=float(limit),
            )
            for limit in WITHIN_DEGREES
        ),
    ]


_RATE: tuple[Place, ...] = ("tables", "comparison", "conditions", "validation")
_METRES: dict[str, Any] = {"unit": "m", "quantity": "distance_error"}
_TOGETHER = (
    *(
        _share(f"error_{part}_share", f"share of the error, {words}", f"error_{part}_share")
        for part, words in PARTS.items()
    ),
    *_azimuth("", "as claimed", "claim", "validation"),
    *_azimuth(BEST_MATCHED, "best matched", "best"),
    *(
        _share(
            f"frames_within_{limit}deg",
            f"moments within {limit} degrees",
            f"frames_within_{limit}deg",
            *(("tables", "comparison", "validation") if limit == 10 else ("report",)),
            short=f"moments\nwithin\n{limit} deg",
            higher_is_better=True,
        )
        for limit in WITHIN_DEGREES
    ),
    Measure(
        name="identity_switches",
        title="tracks that change over, per minute",
        quantity="identity_switches",
        digits=1,
        places=("report", "comparison"),
    ),
    _share("wrong_slot_rate", "wrong slot", "wrong_slot", *_RATE, short="wrong\nslot"),
    _share("wrong_slot_rate_unambiguous", "wrong slot, unambiguous", "wrong_slot_unambiguous"),
    _share(
        "order_accuracy",
        "slots in order",
        "order_correct",
        *("report", "comparison", "conditions"),
        higher_is_better=True,
    ),
    _share("ambiguous_share", "ambiguous scenes", "ambiguous"),
    _share(
        "speaker_count_accuracy",
        "number of speakers right",
        "count_correct",
        "conditions",
        higher_is_better=True,
    ),
    _share("missed_rate", "speakers missed", "missed", "tables", short="missed", if_any=True),
    _share(
        "invented_rate", "outputs invented", "invented", "tables", short="inven-\nted", if_any=True
    ),
    Measure(
        name="distance_error_median_m",
        title="median distance error",
        statistic="median",
        places=("report",),
        **_METRES,
    ),
    Measure(name="distance_error_mean_m", title="mean distance error", **_METRES),
    Measure(
        name="not_scored",
        title="values not scored",
        short="not\nscored",
        digits=0,
        if_any=True,
        places=("tables",),
    ),
    Measure(name="real_time_factor", title="real-time factor", places=("report",)),
)


def measures_of_metric(metric: Metric) -> list[Measure]:
    """Return three measures of a metric: of the estimates, of the mixture, and the improvement."""
    name, title, unit = metric.name, say(metric, "title"), say(metric, "unit")
    suffix = "_db" if unit == "dB" else ""
    shown = "_improvement" if say(metric, "shown") == "improvement" else ""
    first = name == "si_sdr"  # whose difference is that of its improvement
    words = {"": title, "_unprocessed": f"{title} of the mixture"}
    found = []
    for part in ("", "_unprocessed", "_improvement"):
        places: list[Place] = [say(metric, "column")] if part == shown else []
        if part == ("_improvement" if first else ""):
            places.append("comparison")
        gain = first and part == "_improvement"
        found.append(
            Measure(
                name=f"{name}{part}{suffix}",
                title=words.get(part, f"{title} improvement"),
                short=f"{title} gain" if part else title.replace(", ", " ").removesuffix("-band"),
                unit=unit,
                digits=say(metric, "digits"),
                higher_is_better=say(metric, "higher_is_better") or part == "_improvement",
                quantity=f"{name}{part}",
                margin=0.3 if gain else None,
                metric=name,
                places=(*places, "conditions", "validation") if gain else tuple(places),
            )
        )
    return found


def _found() -> dict[str, Metric]:
    modules = (module.name for module in pkgutil.iter_modules(signals.__path__))
    found: list[Metric] = [
        metric
        for name in modules
        for metric in importlib.import_module(f"{signals.__name__}.{name}").METRICS
    ]
    return {metric.name: metric for metric in sorted(found, key=lambda m: say(m, "rank"))}


def measures_of(own: Iterable[Metric] = ()) -> dict[str, Measure]:
    """Return all measures by name, in the order of tables; those of further metrics too."""
    of_metrics = [m for metric in (*METRICS.values(), *own) for m in measures_of_metric(metric)]
    return {measure.name: measure for measure in (*of_metrics, *_TOGETHER)}


def measures_in(summary: Mapping[str, Any]) -> dict[str, Measure]:
    """Return all measures that a summary is told by, those of the user's own metrics too."""
    own = {name: Measure(**of) for name, of in (summary.get("own_measures") or {}).items()}
    return {**MEASURES, **own}


def compared(measures: Mapping[str, Measure]) -> list[Measure]:
    """Return what systems are compared by: the improvement and directions, then other metrics."""
    found = [m for m in measures.values() if "comparison" in m.places]
    return sorted(found, key=lambda measure: measure.metric not in ("", "si_sdr"))


METRICS = _found()
"""The metrics of signals that ship, by name, in the order of tables."""

MEASURES = measures_of()
"""Every measure, by name."""

COMPARED = tuple(m for m in compared(MEASURES) if m.metric in ("", "si_sdr"))
"""Measures that networks for separation and direction are compared by."""

VALIDATION = tuple(m.name for m in MEASURES.values() if "validation" in m.places)
"""Names of the measures that training tells of each epoch."""

_LABELS = (
    ("angle", "angle between speakers", "deg", 0),
    ("opposition", "opposite speakers", "", 0),
    ("seam", "a speaker near 0°", "", 0),
    ("t60", "T60", "s", 2),
    ("snr", "SNR", "dB", 0),
    ("snr_db", "SNR", "dB", 0),
    ("distance", "distance", "m", 1),
    ("num_speakers", "number of speakers", "", 0),
    ("drr", "direct to reverberant", "dB", 1),
    ("drr_db", "direct to reverberant", "dB", 1),
    ("sir", "level against the others", "dB", 1),
    ("sir_db", "level against the others", "dB", 1),
    ("sensor_snr_db", "SNR of sensors", "dB", 0),
    ("overlap", "overlap of speech", "%", 0),
    ("elevation", "elevation", "deg", 0),
    ("room_volume_m3", "room", "m³", 0),
)
LABELS = {
    name: Quantity(name=name, title=title, unit=unit, digits=digits)
    for name, title, unit, digits in _LABELS
}
"""Labels of scenes and their speakers, which scores are broken down by."""

_UNITS = {"db": "dB", "deg": "deg", "m": "m", "s": "s", "hz": "Hz", "ms": "ms", "m3": "m³"}


def quantity(name: str, measures: Mapping[str, Measure] = MEASURES) -> Quantity:
    """Return how a measure or a label reads; one that is not known is named after its key."""
    if (known := measures.get(name) or LABELS.get(name)) is not None:
        return known
    stem, _, ending = name.rpartition("_")
    if stem and ending in _UNITS:
        title, unit, digits = stem, _UNITS[ending], 1
    elif name.endswith(("_rate", "_share", "_accuracy")):
        title, unit, digits = name, "%", 0
    else:
        title, unit, digits = name, "", 2
    return Quantity(name=name, title=title.replace("_", " "), unit=unit, digits=digits)
