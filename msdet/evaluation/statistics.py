# SPDX-License-Identifier: Apache-2.0
"""What the rows of an evaluation say together: means, intervals, breakdowns, tables.

A mean is over the speakers of a scene, then over scenes; a median is over all speakers. Silent
targets are in neither. Intervals are bootstrapped over scenes, since a scene's speakers share
its room and its mixture.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from msdet.evaluation.metrics import SpeakerScore
from msdet.evaluation.resampling import weighted_median
from msdet.evaluation.rows import Row
from msdet.evaluation.signal_metrics import METRICS

WITHIN_DEGREES = (5, 10, 15)
RESAMPLES = 1000
CONFIDENCE_PERCENT = 95.0

SEAM_DEGREES = 15.0
"""How near to 0 degrees a speaker must stand for its scene to lie on the seam of sorting."""
OPPOSITION_DEGREES = 165.0
"""From which angle between two speakers on they stand opposite, where `cyclic` breaks."""

UNIT = {"si_sdr": "_db", "sdr": "_db", "estoi": "", "pesq": ""}
_ANGLES = (0.0, 15.0, 30.0, 60.0, 90.0, 180.0)
_T60S = (0.0, 0.2, 0.3, 0.4, 0.6, 0.8, math.inf)
_DISTANCES = (0.0, 1.0, 1.5, 2.0, 3.0, math.inf)
_SNRS = (-math.inf, 0.0, 10.0, 20.0, 30.0, math.inf)
_BREAKDOWN_KEYS = (
    "si_sdr_improvement_db",
    "azimuth_error_median_deg",
    "azimuth_within_10deg",
    "wrong_slot_rate",
    "order_accuracy",
    "speaker_count_accuracy",
)


def summarise(
    rows: Sequence[Row],
    *,
    linear_array: bool = False,
    unavailable: Mapping[str, str] | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Everything about an evaluation that goes into ``summary.json``.

    Every key is always there; what was not measured (a metric that was not asked for, angles of
    a model without DoA, the order under permutation-invariant training) is null. Shares and
    rates are 0 to 1. ``intervals`` holds ``[low, high]``, 95 %, where there are two scenes or
    more to draw from.

    Args:
        rows: at least one.
        linear_array: no seam and no opposition there.
        unavailable: metrics that this installation lacks, from ``choose_metrics``.
        seed: of the bootstrap.
    """
    if not rows:
        raise ValueError("no rows to summarise")
    table = _Table.of(rows)
    draws = _bootstrap_weights(len(rows), seed)
    measures = _measures()
    point = {key: _number(measure(table, None)[0]) for key, measure in measures.items()}
    intervals = {key: _interval(measure(table, draws)) for key, measure in measures.items()}
    if len(rows) < 2:
        intervals = {}
    attenuations = [v for row in rows for v in row.score.attenuation_db if v is not None]
    return {
        "num_scenes": len(rows),
        "num_speakers": int(table.active.sum()),
        "num_silent_targets": sum(s.silent for row in rows for s in row.score.speakers),
        **point,
        "attenuation_db": _number(float(np.mean(attenuations))) if attenuations else None,
        "pesq_mode": rows[0].score.pesq_mode,
        "failures": _failures(rows),
        "unavailable": dict(unavailable or {}),
        "intervals": {key: pair for key, pair in intervals.items() if pair is not None},
        "breakdowns": _breakdowns(rows, table, linear_array),
    }


# --- rows as arrays -----------------------------------------------------------------------


@dataclass(frozen=True)
class _Table:
    """Rows as arrays: ``speaker[name]`` ``[scene, speaker]`` and ``scene[name]`` ``[scene]``.

    NaN where there is nothing. ``active`` ``[scene, speaker]``: a speaker that is not silent.
    """

    active: NDArray[np.bool_]
    speaker: dict[str, NDArray[np.float64]]
    scene: dict[str, NDArray[np.float64]]

    @classmethod
    def of(cls, rows: Sequence[Row]) -> _Table:
        width = max(len(row.score.speakers) for row in rows)
        names = [f"{m}{part}" for m in METRICS for part in ("", "_unprocessed", "_improvement")]
        names += ["azimuth_error", "azimuth_error_best_matched", "wrong_slot", "distance_error"]
        speaker = {name: np.full((len(rows), width), np.nan) for name in names}
        active = np.zeros((len(rows), width), dtype=bool)
        for i, row in enumerate(rows):
            for j, of in enumerate(row.score.speakers):
                if of.slot is None:
                    continue
                active[i, j] = True
                for name, value in of.scores.items():
                    speaker[name][i, j] = _nan(value)
                speaker["azimuth_error"][i, j] = azimuth_error(row, of)
                speaker["azimuth_error_best_matched"][i, j] = azimuth_error(
                    row, of, best_matched=True
                )
                speaker["distance_error"][i, j] = _nan(of.distance_error)
                speaker["wrong_slot"][i, j] = _nan(row.score.wrong_slot[of.slot])
        scene = {
            "order_correct": np.array([_nan(row.score.order_correct) for row in rows]),
            "ambiguous": np.array([float(row.score.ambiguous) for row in rows]),
            "count_correct": np.array([_nan(_count_correct(row)) for row in rows]),
        }
        return cls(active, speaker, scene)

    def only(self, chosen: NDArray[np.bool_]) -> _Table:
        """The speakers chosen by ``[scene, speaker]``; scenes without any are left empty."""
        some = chosen.any(axis=1)
        return _Table(
            self.active & chosen,
            {name: np.where(chosen, values, np.nan) for name, values in self.speaker.items()},
            {name: np.where(some, values, np.nan) for name, values in self.scene.items()},
        )


# A measure gives one value per draw of scenes: ``weights`` is ``[draw, scene]``, how often each
# scene was drawn; None stands for every scene once.
_Weights = NDArray[np.float64] | None
_Measure = Callable[[_Table, _Weights], NDArray[np.float64]]


def _measures() -> dict[str, _Measure]:
    """What is measured, under the names that scripts rely on."""
    found: dict[str, _Measure] = {}
    for metric in METRICS:
        for part in ("", "_unprocessed", "_improvement"):
            found[f"{metric}{part}{UNIT[metric]}"] = _speaker_mean(f"{metric}{part}")
    for suffix in ("", "_best_matched"):
        error = f"azimuth_error{suffix}"
        found[f"azimuth_error_mean_deg{suffix}"] = _speaker_mean(error)
        found[f"azimuth_error_median_deg{suffix}"] = _speaker_median(error)
        for limit in WITHIN_DEGREES:
            found[f"azimuth_within_{limit}deg{suffix}"] = _speaker_mean(error, within=limit)
    found["wrong_slot_rate"] = _speaker_mean("wrong_slot")
    found["wrong_slot_rate_unambiguous"] = _speaker_mean("wrong_slot", unambiguous=True)
    found["order_accuracy"] = _scene_mean("order_correct")
    found["ambiguous_share"] = _scene_mean("ambiguous")
    found["distance_error_mean_m"] = _speaker_mean("distance_error")
    found["distance_error_median_m"] = _speaker_median("distance_error")
    found["speaker_count_accuracy"] = _scene_mean("count_correct")
    return found


def _speaker_mean(name: str, *, within: float | None = None, unambiguous: bool = False) -> _Measure:
    """Mean over speakers, then scenes; of the share at or below ``within`` where given."""

    def measure(table: _Table, weights: _Weights) -> NDArray[np.float64]:
        values = table.speaker[name]
        if within is not None:
            values = np.where(np.isnan(values), np.nan, values <= within)
        if unambiguous:
            values = np.where(table.scene["ambiguous"][:, None] == 0, values, np.nan)
        there = np.isfinite(values)
        with np.errstate(invalid="ignore"):
            per_scene = np.where(there, values, 0.0).sum(axis=1) / there.sum(axis=1)
        return _weighted_mean(per_scene, weights)

    return measure


def _scene_mean(name: str) -> _Measure:
    return lambda table, weights: _weighted_mean(table.scene[name], weights)


def _weighted_mean(values: NDArray[np.float64], weights: _Weights) -> NDArray[np.float64]:
    """Means ``[draw]`` of the finite values ``[scene]``."""
    there = np.isfinite(values)
    counts = np.ones((1, len(values))) if weights is None else weights
    with np.errstate(invalid="ignore"):
        return np.asarray(counts @ np.where(there, values, 0.0) / (counts @ there))


def _speaker_median(name: str) -> _Measure:
    """Median over all speakers; the mean of the two in the middle of an even number."""

    def measure(table: _Table, weights: _Weights) -> NDArray[np.float64]:
        values = table.speaker[name]
        return weighted_median(values, np.ones((1, len(values))) if weights is None else weights)

    return measure


def _bootstrap_weights(num_scenes: int, seed: int) -> NDArray[np.float64]:
    """How often each scene is in each resample, ``[resample, scene]``."""
    uniform = np.full(num_scenes, 1.0 / num_scenes)
    counts = np.random.default_rng(seed).multinomial(num_scenes, uniform, size=RESAMPLES)
    return counts.astype(np.float64)


def _interval(values: NDArray[np.float64]) -> list[float] | None:
    """Percentile interval of a bootstrap; None where some draws had nothing to average."""
    if not np.isfinite(values).all():
        return None
    tail = (100.0 - CONFIDENCE_PERCENT) / 2
    return [round(float(edge), 6) for edge in np.percentile(values, [tail, 100.0 - tail])]


def _failures(rows: Sequence[Row]) -> dict[str, dict[str, Any]]:
    """Per metric: how many values are missing, of the estimates and of the mixture, and why."""
    found: dict[str, dict[str, Any]] = {}
    for failure in (failure for row in rows for failure in row.score.failures):
        entry = found.setdefault(
            failure.metric, {"estimate": 0, "unprocessed": 0, "reasons": Counter()}
        )
        entry[failure.signal] += 1
        entry["reasons"][failure.reason] += 1
    return {
        metric: {**entry, "reasons": dict(entry["reasons"].most_common())}
        for metric, entry in sorted(found.items())
    }


# --- breakdowns ---------------------------------------------------------------------------


def _breakdowns(
    rows: Sequence[Row], table: _Table, linear_array: bool
) -> dict[str, list[dict[str, Any]]]:
    """Per property of the scene or speaker, one entry for each group that is not empty."""
    gaps = [_gaps(row) for row in rows]
    per_scene = {
        "num_speakers": table.active.sum(axis=1).astype(np.float64),
        "angle": np.array([min(found, default=math.nan) for found in gaps]),
        "opposition": np.array([max(found, default=math.nan) for found in gaps]),
        "seam": np.array([_distance_to_seam(row) for row in rows]),
        "t60": np.array([_nan(row.labels.t60) for row in rows]),
        "snr": np.array([_nan(row.labels.snr_db) for row in rows]),
    }
    by = {name: np.repeat(v[:, None], table.active.shape[1], 1) for name, v in per_scene.items()}
    by["distance"] = np.full(table.active.shape, np.nan)
    for i, row in enumerate(rows):
        by["distance"][i, : len(row.labels.distance)] = row.labels.distance

    groups: dict[str, list[tuple[str, NDArray[np.bool_]]]] = {
        "num_speakers": [
            (f"{n:g} speaker{'s' if n > 1 else ''}", by["num_speakers"] == n)
            for n in np.unique(per_scene["num_speakers"])
            if n > 0
        ],
        "angle": _bins(by["angle"], _ANGLES, "deg apart"),
    }
    if not linear_array:
        near, opposite = by["seam"] < SEAM_DEGREES, by["opposition"] > OPPOSITION_DEGREES
        groups["seam"] = [
            (f"seam within {SEAM_DEGREES:g} deg", near),
            ("seam further away", ~near & np.isfinite(by["seam"])),
        ]
        groups["opposition"] = [
            (f"over {OPPOSITION_DEGREES:g} deg apart", opposite),
            (f"up to {OPPOSITION_DEGREES:g} deg apart", by["opposition"] <= OPPOSITION_DEGREES),
        ]
    groups["t60"] = _bins(by["t60"], _T60S, "s T60")
    groups["distance"] = _bins(by["distance"], _DISTANCES, "m away")
    groups["snr"] = _bins(by["snr"], _SNRS, "dB SNR")
    return {
        name: [
            _breakdown_entry(label, table.only(chosen))
            for label, chosen in groups[name]
            if (chosen & table.active).any()
        ]
        for name in groups
    }


def _breakdown_entry(label: str, table: _Table) -> dict[str, Any]:
    measures = _measures()
    return {
        "group": label,
        "num_scenes": int(table.active.any(axis=1).sum()),
        "num_speakers": int(table.active.sum()),
        **{key: _number(measures[key](table, None)[0]) for key in _BREAKDOWN_KEYS},
    }


def _bins(
    values: NDArray[np.float64], edges: Sequence[float], unit: str
) -> list[tuple[str, NDArray[np.bool_]]]:
    """Half-open bins ``[low, high)`` with their names; the last one holds its upper edge too."""
    found = []
    for low, high in pairwise(edges):
        inside = (values >= low) & ((values <= high) if high == edges[-1] else (values < high))
        if math.isinf(low):
            name = f"under {high:g} {unit}"
        elif math.isinf(high):
            name = f"{low:g} {unit} or more"
        else:
            name = f"{low:g} to {high:g} {unit}"
        found.append((name, inside))
    return found


MISSED_DEGREES = 180.0
"""The error of a speaker whom no slot claims: as wrong as can be, or a network that says "nobody"
wherever it is unsure would be scored on its sure ones alone."""


def azimuth_error(row: Row, speaker: SpeakerScore, *, best_matched: bool = False) -> float:
    """Degrees; NaN for a network without DoA and for what could not be scored."""
    error = speaker.azimuth_error_best_matched if best_matched else speaker.azimuth_error
    if error is None and row.score.speakers_claimed is not None:
        return MISSED_DEGREES
    return _nan(error)


def _count_correct(row: Row) -> bool | None:
    """Whether as many slots claim a speaker as there are; None where the model cannot say."""
    if row.score.speakers_claimed is None:
        return None
    return row.score.speakers_claimed == sum(not s.silent for s in row.score.speakers)


def _gaps(row: Row) -> list[float]:
    """Angles between each two speakers that are not silent, degrees."""
    azimuths = [s.azimuth for s in row.score.speakers if not s.silent]
    return [_on_circle(a - b) for a, b in combinations(azimuths, 2)]


def _distance_to_seam(row: Row) -> float:
    azimuths = [s.azimuth for s in row.score.speakers if not s.silent]
    return min((_on_circle(azimuth) for azimuth in azimuths), default=math.nan)


def _on_circle(degrees: float) -> float:
    """The size of an angle, [0, 180]. Not ``geometry.angular_error``: that imports torch."""
    return abs((degrees + 180.0) % 360.0 - 180.0)


def _nan(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _number(value: float) -> float | None:
    return round(float(value), 6) if math.isfinite(value) else None
