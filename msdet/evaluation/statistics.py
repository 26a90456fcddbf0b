# SPDX-License-Identifier: Apache-2.0
"""What the rows of a system say together: means, intervals, breakdowns.

A mean is over the speakers of a scene, then over scenes; a median is over all speakers. Silent
targets are in neither. Intervals are bootstrapped over scenes, since a scene's speakers share
its room and its mixture.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from msdet.evaluation.conditions import DEFAULT_CONDITIONS, groups_of
from msdet.evaluation.resampling import Statistic, draw, estimate_from, statistic
from msdet.evaluation.rows import Row
from msdet.evaluation.scores import SpeakerScore
from msdet.evaluation.signal_metrics import METRIC

WITHIN_DEGREES = (5, 10, 15)

FEW_SCENES = 10
"""Intervals from fewer come with a warning: the percentiles of a bootstrap are too narrow for small
samples (Hesterberg, The American Statistician 69(4), 2015)."""

MISSED_DEGREES = 180.0
"""The error of a speaker whom no slot claims: as wrong as can be, or a system that says "nobody"
wherever it is unsure would be scored on its sure ones alone."""

_BREAKDOWN_KEYS = (
    "si_sdr_improvement_db",
    "azimuth_error_median_deg",
    "azimuth_within_10deg",
    "azimuth_error_median_deg_best_matched",
    "azimuth_within_10deg_best_matched",
    "wrong_slot_rate",
    "order_accuracy",
    "speaker_count_accuracy",
)


def summarise(
    rows: Sequence[Row],
    *,
    linear_array: bool = False,
    unavailable: Mapping[str, str] | None = None,
    conditions: Sequence[str] = DEFAULT_CONDITIONS,
    seed: int = 0,
) -> dict[str, Any]:
    """Everything about one system that goes into ``summary.json``.

    Every key is always there; what was not measured (a metric that was not asked for, angles of
    a model without DoA, the order under permutation-invariant training) is null. Shares and
    rates are 0 to 1. ``intervals`` holds ``[low, high]``, 95 %, where there are two scenes or
    more to draw from. ``speaker_count_confusion`` holds scenes by the true number of speakers,
    then by the claimed one. ``not_scored`` is how many values could not be computed, ``failures``
    by metric and reason. ``breakdowns`` holds the conditions whose labels the rows have.

    Args:
        rows: at least one.
        linear_array: no seam and no opposition there.
        unavailable: metrics that this installation lacks, from ``choose_metrics``.
        conditions: what to break down by; see :mod:`msdet.evaluation.conditions`.
        seed: of the bootstrap.

    Raises:
        InputError: an unknown condition.
    """
    if not rows:
        raise ValueError("no rows to summarise")
    table = ScoreTable.of(rows)
    scenes = draw(1, len(rows), seed=seed).scenes
    estimates = {
        key: estimate_from(_replicates(values, how, scenes), 1, len(rows))
        for key, (values, how) in _measures(table).items()
    }
    attenuations = [v for row in rows for v in row.score.attenuation_db if v is not None]
    return {
        "num_scenes": len(rows),
        "num_speakers": int(table.active.sum()),
        "num_silent_targets": sum(s.silent for row in rows for s in row.score.speakers),
        **{key: _number(estimate.value) for key, estimate in estimates.items()},
        "attenuation_db": _number(float(np.mean(attenuations))) if attenuations else None,
        "speaker_count_confusion": _speaker_count_confusion(rows),
        "not_scored": sum(len(row.score.failures) for row in rows),
        "failures": _failures(rows),
        "unavailable": dict(unavailable or {}),
        "intervals": {
            key: [_number(estimate.low), _number(estimate.high)]
            for key, estimate in estimates.items()
            if len(rows) > 1 and math.isfinite(estimate.low + estimate.high)
        },
        "breakdowns": _breakdowns(rows, table, conditions, linear_array),
    }


# --- rows as arrays -----------------------------------------------------------------------


@dataclass(frozen=True)
class ScoreTable:
    """Rows of one system as arrays, NaN where there is nothing.

    Attributes:
        active: ``[scene, speaker]``, a speaker that is not silent.
        speaker: ``[scene, speaker]`` by name: for each metric ``m``, ``m_unprocessed`` and
            ``m_improvement``, ``azimuth_error`` and ``azimuth_error_best_matched`` in degrees,
            ``distance_error`` in metres, ``wrong_slot`` 0 or 1.
        scene: ``[scene]`` by name, 0 or 1: ``order_correct``, ``ambiguous``, ``count_correct``; 0
            to 1: ``missed``, the share of the speakers for whom no output came, and ``invented``,
            the share of the outputs that are more than there are speakers.
    """

    active: NDArray[np.bool_]
    speaker: dict[str, NDArray[np.float64]]
    scene: dict[str, NDArray[np.float64]]

    @classmethod
    def of(cls, rows: Sequence[Row]) -> Self:
        width = max(len(row.score.speakers) for row in rows)
        names = [f"{m}{part}" for m in METRIC for part in ("", "_unprocessed", "_improvement")]
        names += ["azimuth_error", "azimuth_error_best_matched", "wrong_slot", "distance_error"]
        speaker = {name: np.full((len(rows), width), np.nan) for name in names}
        active = np.zeros((len(rows), width), dtype=bool)
        for i, row in enumerate(rows):
            for j, of in enumerate(row.score.speakers):
                if of.silent:
                    continue
                active[i, j] = True
                for name, value in of.scores.items():
                    speaker[name][i, j] = _nan(value)
                speaker["azimuth_error"][i, j] = azimuth_error(row, of)
                speaker["azimuth_error_best_matched"][i, j] = azimuth_error(
                    row, of, best_matched=True
                )
                speaker["distance_error"][i, j] = _nan(of.distance_error)
                if of.slot is not None:
                    speaker["wrong_slot"][i, j] = _nan(row.score.wrong_slot[of.slot])
        scene = {
            "order_correct": np.array([_nan(row.score.order_correct) for row in rows]),
            "ambiguous": np.array([_nan(row.score.ambiguous) for row in rows]),
            "count_correct": np.array([_nan(_count_correct(row)) for row in rows]),
            "missed": np.array([_missed(row) for row in rows]),
            "invented": np.array([_invented(row) for row in rows]),
        }
        return cls(active, speaker, scene)

    def only(self, chosen: NDArray[np.bool_]) -> ScoreTable:
        """The speakers chosen by ``[scene, speaker]``; scenes without any are left empty."""
        some = chosen.any(axis=1)
        return ScoreTable(
            self.active & chosen,
            {name: np.where(chosen, values, np.nan) for name, values in self.speaker.items()},
            {name: np.where(some, values, np.nan) for name, values in self.scene.items()},
        )


# --- what is measured ---------------------------------------------------------------------


def _measures(table: ScoreTable) -> dict[str, tuple[NDArray[np.float64], Statistic]]:
    """Values ``[scene, speaker]`` and what is made of them, under the names that scripts rely on.

    What is of a whole scene has one column.
    """
    found: dict[str, tuple[NDArray[np.float64], Statistic]] = {}
    for metric, known in METRIC.items():
        for part in ("", "_unprocessed", "_improvement"):
            found[f"{metric}{part}{known.suffix}"] = table.speaker[f"{metric}{part}"], "mean"
    for suffix in ("", "_best_matched"):
        errors = table.speaker[f"azimuth_error{suffix}"]
        found[f"azimuth_error_mean_deg{suffix}"] = errors, "mean"
        found[f"azimuth_error_median_deg{suffix}"] = errors, "median"
        for limit in WITHIN_DEGREES:
            within = np.where(np.isnan(errors), np.nan, errors <= limit)
            found[f"azimuth_within_{limit}deg{suffix}"] = within, "mean"
    wrong, ambiguous = table.speaker["wrong_slot"], table.scene["ambiguous"][:, None]
    found["wrong_slot_rate"] = wrong, "mean"
    found["wrong_slot_rate_unambiguous"] = np.where(ambiguous == 0, wrong, np.nan), "mean"
    found["order_accuracy"] = table.scene["order_correct"][:, None], "mean"
    found["ambiguous_share"] = ambiguous, "mean"
    found["distance_error_mean_m"] = table.speaker["distance_error"], "mean"
    found["distance_error_median_m"] = table.speaker["distance_error"], "median"
    found["speaker_count_accuracy"] = table.scene["count_correct"][:, None], "mean"
    found["missed_rate"] = table.scene["missed"][:, None], "mean"
    found["invented_rate"] = table.scene["invented"][:, None], "mean"
    return found


def _replicates(
    values: NDArray[np.float64], how: Statistic, scenes: NDArray[np.float64]
) -> NDArray[np.float64]:
    """``[draw]`` of values ``[scene, speaker]`` of one system."""
    return statistic(values[None], how, scenes)[:, 0]


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


def _speaker_count_confusion(rows: Sequence[Row]) -> dict[str, dict[str, int]] | None:
    """Scenes by their number of speakers, then by the number of slots that claim one.

    Both as texts, since JSON has no other keys; None where the system cannot say.
    """
    pairs = Counter(
        (_num_active(row), row.score.speakers_claimed)
        for row in rows
        if row.score.speakers_claimed is not None
    )
    if not pairs:
        return None
    counts = sorted({count for pair in pairs for count in pair})
    return {
        str(there): {str(claimed): pairs[there, claimed] for claimed in counts}
        for there in sorted({there for there, _ in pairs})
    }


# --- breakdowns ---------------------------------------------------------------------------


def _breakdowns(
    rows: Sequence[Row], table: ScoreTable, conditions: Sequence[str], linear_array: bool
) -> dict[str, list[dict[str, Any]]]:
    """Per condition that the rows know of, one entry for each group that is not empty."""
    found = {
        name: [
            _breakdown_entry(label, table.only(chosen))
            for label, chosen in groups
            if (chosen & table.active).any()
        ]
        for name, groups in groups_of(rows, conditions, linear_array=linear_array).items()
    }
    return {name: entries for name, entries in found.items() if entries}


def _breakdown_entry(label: str, table: ScoreTable) -> dict[str, Any]:
    measures, once = _measures(table), np.ones((1, len(table.active)))
    return {
        "group": label,
        "num_scenes": int(table.active.any(axis=1).sum()),
        "num_speakers": int(table.active.sum()),
        **{key: _number(_replicates(*measures[key], once)[0]) for key in _BREAKDOWN_KEYS},
    }


# --- single rows --------------------------------------------------------------------------


def azimuth_error(row: Row, speaker: SpeakerScore, *, best_matched: bool = False) -> float:
    """Degrees, ``MISSED_DEGREES`` where the system finds directions and has none for this speaker.

    NaN for a silent target, for a system without DoA, and, as claimed, for one without audio.
    """
    error = speaker.azimuth_error_best_matched if best_matched else speaker.azimuth_error
    finds = row.score.speaker_of_slot_by_azimuth is not None and not speaker.silent
    if error is None and finds and (best_matched or speaker.slot is not None):
        return MISSED_DEGREES
    return _nan(error)


def _count_correct(row: Row) -> bool | None:
    """Whether as many slots claim a speaker as there are; None where the model cannot say."""
    if row.score.speakers_claimed is None:
        return None
    return row.score.speakers_claimed == _num_active(row)


def _missed(row: Row) -> float:
    claimed, there = row.score.speakers_claimed, _num_active(row)
    return math.nan if claimed is None or not there else max(0, there - claimed) / there


def _invented(row: Row) -> float:
    claimed = row.score.speakers_claimed
    return max(0, claimed - _num_active(row)) / claimed if claimed else math.nan


def _num_active(row: Row) -> int:
    return sum(not speaker.silent for speaker in row.score.speakers)


def _nan(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _number(value: float) -> float | None:
    return round(float(value), 6) if math.isfinite(value) else None
