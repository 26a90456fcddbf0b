# SPDX-License-Identifier: Apache-2.0
"""Summaries of the scores of systems: means, intervals, breakdowns, comparisons.

A mean is over the speakers of a scene, then over scenes; a median is over all speakers. Silent
targets are in neither. Intervals are bootstrapped over scenes, since a scene's speakers share
its room and its mixture.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from msdet.metrics.bootstrap import difference, draw, interval_from, statistic
from msdet.metrics.conditions import DEFAULT_CONDITIONS, groups_of
from msdet.metrics.measures import MEASURES, Measure, compared
from msdet.metrics.scores import SceneRow
from msdet.metrics.table import Arrays, arrays_of, num_active, score_table

if TYPE_CHECKING:
    import pandas as pd

FEW_SCENES = 10
"""Intervals from fewer come with a warning: the percentiles of a bootstrap are too narrow for small
samples (Hesterberg, The American Statistician 69(4), 2015)."""


def summarise(
    rows: Sequence[SceneRow],
    system: str = "model",
    *,
    table: pd.DataFrame | None = None,
    measures: Mapping[str, Measure] = MEASURES,
    linear_array: bool = False,
    unavailable: Mapping[str, str] | None = None,
    conditions: Sequence[str] = DEFAULT_CONDITIONS,
    seed: int = 0,
) -> dict[str, Any]:
    """Return everything about one system that goes into ``summary.json``.

    Every measure is always there; what was not measured (a metric that was not asked for, angles
    of a model without DoA, the order under permutation-invariant training) is null. Shares and
    rates are 0 to 1. ``intervals`` holds ``[low, high]``, 95 %, where there are two scenes or
    more to draw from. ``speaker_count_confusion`` holds scenes by the true number of speakers,
    then by the claimed one. ``not_scored`` is how many values could not be computed, ``failures``
    by metric and reason. ``breakdowns`` holds the conditions whose labels the rows have.

    Args:
        rows: at least one. table: of these rows; None makes it.
        measures: from ``measures_of``, where there are metrics beside those that ship.
        linear_array: no seam and no opposition there.
        unavailable: metrics that this installation lacks, from ``choose_metrics``.
        conditions: what to break down by; see :mod:`msdet.metrics.conditions`.
        seed: of the bootstrap.

    Raises:
        InputError: an unknown condition.
    """
    if not rows:
        raise ValueError("no rows to summarise")
    table = score_table(rows) if table is None else table
    arrays = arrays_of(table, system)
    silent = arrays["silent"]
    active = silent == 0
    scenes = draw(1, len(rows), seed=seed).scenes
    found = {
        name: interval_from(_replicates(arrays, measure, scenes), 1, len(rows))
        for name, measure in measures.items()
        if measure.quantity
    }
    own = table[table["system"] == system].groupby("quantity", observed=True)["value"]
    means, sums = own.mean(), own.sum()
    return {
        "num_scenes": len(rows),
        "num_speakers": int(active.sum()),
        "num_silent_targets": int((silent == 1).sum()),
        **{name: _number(of.value) for name, of in found.items()},
        "attenuation_db": _number(float(means.get("attenuation_db", math.nan))),
        "speaker_count_confusion": _speaker_count_confusion(rows, system),
        "not_scored": int(sums["not_scored"]),
        "failures": _failures(rows, system),
        "unavailable": dict(unavailable or {}),
        "intervals": {
            name: [_number(of.low), _number(of.high)]
            for name, of in found.items()
            if len(rows) > 1 and math.isfinite(of.low + of.high)
        },
        "breakdowns": _breakdowns(rows, arrays, active, measures, conditions, linear_array),
    }


def compare_systems(
    table: pd.DataFrame,
    system: str,
    reference: str,
    *,
    measures: Mapping[str, Measure] = MEASURES,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """Return a system minus a reference on the same scenes, an entry for each measure of both.

    An entry holds ``measure`` (its key in ``summary.json``), ``difference`` with its 95 % interval
    ``low`` to ``high`` from a bootstrap over scenes, ``won_share`` (of the scenes, by the mean of
    their speakers; a tie counts half) and ``scenes``. Speakers of which one system lacks the value
    are left out of both.
    """
    mine, theirs = arrays_of(table, system), arrays_of(table, reference)
    found = []
    for measure in compared(measures):
        if measure.quantity not in mine or measure.quantity not in theirs:
            continue
        values, others = mine[measure.quantity][None], theirs[measure.quantity][None]
        both = np.isfinite(values) & np.isfinite(others)
        if not both.any():
            continue
        between = difference(values, others, measure, seed=seed)
        gain = np.where(both, measure.of(values) - measure.of(others), 0.0)[0].sum(axis=1)
        gain = gain[both[0].any(axis=1)] * (1.0 if measure.higher_is_better else -1.0)
        found.append(
            {
                "measure": measure.name,
                "difference": _number(between.value),
                "low": _number(between.low) if between.scenes > 1 else None,
                "high": _number(between.high) if between.scenes > 1 else None,
                "won_share": _number(float(((gain > 0) + 0.5 * (gain == 0)).mean())),
                "scenes": between.scenes,
            }
        )
    return found


def _replicates(
    arrays: Arrays,
    measure: Measure,
    scenes: NDArray[np.float64],
    chosen: NDArray[np.bool_] | None = None,
) -> NDArray[np.float64]:
    """A measure ``[draw]`` of some draws of scenes, of the speakers ``[scene, speaker]`` chosen."""
    values = arrays.get(measure.quantity)
    if values is None:
        return np.full(len(scenes), np.nan)
    if chosen is not None:
        there = chosen if values.shape == chosen.shape else chosen.any(axis=1, keepdims=True)
        values = np.where(there, values, np.nan)
    return statistic(measure.of(values)[None], measure.statistic, scenes)[:, 0]


def _failures(rows: Sequence[SceneRow], system: str) -> dict[str, dict[str, Any]]:
    """By metric, the number of missing values of the estimates and the mixture, and why."""
    found: dict[str, dict[str, Any]] = {}
    for failure in (failure for row in rows for failure in row.systems[system].failures):
        entry = found.setdefault(
            failure.metric, {"estimate": 0, "unprocessed": 0, "reasons": Counter()}
        )
        entry[failure.signal] += 1
        entry["reasons"][failure.reason] += 1
    return {
        metric: {**entry, "reasons": dict(entry["reasons"].most_common())}
        for metric, entry in sorted(found.items())
    }


def _speaker_count_confusion(
    rows: Sequence[SceneRow], system: str
) -> dict[str, dict[str, int]] | None:
    """Scenes by their number of speakers, then by the number of slots that claim one.

    Both as texts, since JSON has no other keys; None where the system cannot say.
    """
    scores = [row.systems[system] for row in rows]
    pairs = Counter(
        (num_active(score), score.speakers_claimed)
        for score in scores
        if score.speakers_claimed is not None
    )
    if not pairs:
        return None
    counts = sorted({count for pair in pairs for count in pair})
    return {
        str(there): {str(claimed): pairs[there, claimed] for claimed in counts}
        for there in sorted({there for there, _ in pairs})
    }


def _breakdowns(
    rows: Sequence[SceneRow],
    arrays: Arrays,
    active: NDArray[np.bool_],
    measures: Mapping[str, Measure],
    conditions: Sequence[str],
    linear_array: bool,
) -> dict[str, list[dict[str, Any]]]:
    """By condition that the rows know of, one entry for each group that is not empty."""
    once = np.ones((1, len(rows)))
    told = [measure for measure in measures.values() if "conditions" in measure.places]
    found: dict[str, list[dict[str, Any]]] = {}
    for name, groups in groups_of(rows, conditions, linear_array=linear_array).items():
        for label, chosen in groups:
            there = chosen & active
            if there.any():
                entry = {
                    "group": label,
                    "num_scenes": int(there.any(axis=1).sum()),
                    "num_speakers": int(there.sum()),
                    **{m.name: _number(_replicates(arrays, m, once, chosen)[0]) for m in told},
                }
                found.setdefault(name, []).append(entry)
    return found


def _number(value: float) -> float | None:
    return round(float(value), 6) if math.isfinite(value) else None
