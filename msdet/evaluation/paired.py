# SPDX-License-Identifier: Apache-2.0
"""Two systems on the same scenes: the difference of every score, and how often one wins."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from msdet.evaluation.comparison import MEASURE, MEASURES, Measure, difference
from msdet.evaluation.resampling import Values
from msdet.evaluation.rows import Row
from msdet.evaluation.signal_metrics import METRIC
from msdet.evaluation.statistics import ScoreTable

_MEAN = MEASURE["si_sdr_improvement_db"]
"""A plain mean of values of which more is better; ``difference`` looks at nothing else of it."""


def compare_systems(
    rows: Sequence[Row], reference: Sequence[Row], *, seed: int = 0
) -> list[dict[str, Any]]:
    """A system minus a reference on the same scenes, one entry for each measure that both have.

    The measures of ``comparison.MEASURES``, and each other metric of the signals that both were
    scored with (its value itself: the mixture's share cancels). An entry holds ``measure`` (its
    key in ``summary.json``), ``difference`` with its 95 % interval ``low`` to ``high`` from a
    bootstrap over scenes, ``won_share`` (of the scenes, by the mean of their speakers; a tie
    counts half) and ``scenes``. Speakers of which one system lacks the value are left out of both.

    Args:
        rows, reference: of the same scenes in the same order.
        seed: of the bootstrap.
    """
    if [(row.index, row.id) for row in rows] != [(row.index, row.id) for row in reference]:
        raise ValueError("the two systems have rows of different scenes")
    if not rows:
        raise ValueError("no rows to compare")
    mine, theirs = ScoreTable.of(rows), ScoreTable.of(reference)
    found = [
        _entry(measure.name, _values(mine, measure), _values(theirs, measure), measure, seed)
        for measure in MEASURES
    ]
    for name, metric in METRIC.items():
        if name == "si_sdr":  # its difference is that of its improvement
            continue
        values, others = (table.speaker[name][None] for table in (mine, theirs))
        sign = 1.0 if metric.higher_is_better else -1.0
        found.append(_entry(f"{name}{metric.suffix}", values, others, _MEAN, seed, sign=sign))
    return [entry for entry in found if entry is not None]


def _values(table: ScoreTable, measure: Measure) -> Values:
    """``[1, scene, speaker]``."""
    if measure.quantity == "order_correct":
        return table.scene["order_correct"][None, :, None]
    return table.speaker[measure.quantity][None]


def _entry(
    name: str, values: Values, reference: Values, measure: Measure, seed: int, *, sign: float = 1.0
) -> dict[str, Any] | None:
    both = np.isfinite(values) & np.isfinite(reference)
    if not both.any():
        return None
    found = difference(values, reference, measure, seed=seed)
    gain = np.where(both, measure.of(values) - measure.of(reference), 0.0)[0].sum(axis=1)
    gain = gain[both[0].any(axis=1)] * sign * (1.0 if measure.higher_is_better else -1.0)
    return {
        "measure": name,
        "difference": _number(found.value),
        "low": _number(found.low) if found.scenes > 1 else None,
        "high": _number(found.high) if found.scenes > 1 else None,
        "won_share": _number(_won(gain)),
        "scenes": found.scenes,
    }


def _won(gain: NDArray[np.float64]) -> float:
    """Share of gains ``[scene]`` above zero; a zero counts half."""
    return float(((gain > 0) + 0.5 * (gain == 0)).mean())


def _number(value: float) -> float | None:
    return round(value, 6) if math.isfinite(value) else None
