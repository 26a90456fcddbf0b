# SPDX-License-Identifier: Apache-2.0
"""Methods compared on the same scenes: what is measured, paired differences, and equivalence.

Values are ``[seed, scene, speaker]`` of one method on one set of scenes, NaN where there is
nothing; a quantity of a whole scene has one column.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from msdet.evaluation.resampling import (
    Estimate,
    Statistic,
    Values,
    draw,
    estimate_from,
    over_seeds,
    statistic,
)

Quantity = Literal[
    "si_sdr_improvement",
    "azimuth_error",
    "azimuth_error_best_matched",
    "wrong_slot",
    "order_correct",
]
Verdict = Literal["equivalent", "better", "worse", "not shown"]


@dataclass(frozen=True)
class Measure:
    """A number that methods are compared by, under the name it has in ``summary.json``.

    Attributes:
        quantity: what is measured of each speaker, or scene. statistic: what is made of them.
        within: count the share of values at or below it, in place of the values.
        unit: of what is shown; "%" for shares, which are shown times 100.
        margin: differences that are smaller mean nothing in practice; None where none was set.
    """

    name: str
    title: str
    quantity: Quantity
    statistic: Statistic
    unit: Literal["dB", "deg", "%"]
    higher_is_better: bool
    within: float | None = None
    margin: float | None = None

    def of(self, values: Values) -> Values:
        """The values that the statistic is taken of."""
        if self.within is None:
            return values
        return np.where(np.isnan(values), np.nan, (values <= self.within).astype(np.float64))


def _azimuth_measures(suffix: str, words: str, quantity: Quantity) -> tuple[Measure, ...]:
    median, mean, within = (
        f"azimuth_error_median_deg{suffix}",
        f"azimuth_error_mean_deg{suffix}",
        f"azimuth_within_10deg{suffix}",
    )
    return (
        Measure(
            median, f"median azimuth error, {words}", quantity, "median", "deg", False, margin=1.0
        ),
        Measure(mean, f"mean azimuth error, {words}", quantity, "mean", "deg", False, margin=1.0),
        Measure(within, f"within 10 degrees, {words}", quantity, "mean", "%", True, within=10.0),
    )


MEASURES: tuple[Measure, ...] = (
    Measure(
        "si_sdr_improvement_db",
        "SI-SDR improvement",
        "si_sdr_improvement",
        "mean",
        "dB",
        True,
        margin=0.3,
    ),
    *_azimuth_measures("", "as claimed", "azimuth_error"),
    *_azimuth_measures("_best_matched", "best matched", "azimuth_error_best_matched"),
    Measure("wrong_slot_rate", "wrong slot", "wrong_slot", "mean", "%", False),
    Measure("order_accuracy", "slots in order", "order_correct", "mean", "%", True),
)
MEASURE = {measure.name: measure for measure in MEASURES}


def estimate(values: Values, measure: Measure, *, seed: int = 0) -> Estimate:
    """A measure of one method, over its seeds and the scenes that have values."""
    chosen = _scenes_with(values)
    taken = measure.of(values[:, chosen])
    draws = draw(taken.shape[0], taken.shape[1], seed=seed)
    per_seed = statistic(taken, measure.statistic, draws.scenes)
    return estimate_from(over_seeds(per_seed, draws), *taken.shape[:2])


def difference(values: Values, reference: Values, measure: Measure, *, seed: int = 0) -> Estimate:
    """A method minus its reference, paired by seed, scene and speaker.

    Args:
        values, reference: of the same shape. Where one lacks a value, the other's is left out.
    """
    if values.shape != reference.shape:
        raise ValueError(f"values to be paired have shapes {values.shape} and {reference.shape}")
    both = np.isfinite(values) & np.isfinite(reference)
    mine, theirs = (np.where(both, x, np.nan) for x in (values, reference))
    chosen = _scenes_with(mine)
    mine, theirs = mine[:, chosen], theirs[:, chosen]
    draws = draw(mine.shape[0], mine.shape[1], seed=seed)
    first, second = (
        statistic(measure.of(x), measure.statistic, draws.scenes) for x in (mine, theirs)
    )
    return estimate_from(over_seeds(first - second, draws), *mine.shape[:2])


def contrast(
    values: Values,
    chosen: NDArray[np.bool_],
    others: NDArray[np.bool_],
    measure: Measure,
    *,
    seed: int = 0,
) -> Estimate:
    """Some scenes of a set minus other ones, for one method.

    Args:
        chosen, others: ``[scene]``; they share none.
    """
    some, rest = (
        np.where(group[None, :, None], measure.of(values), np.nan) for group in (chosen, others)
    )
    draws = draw(values.shape[0], values.shape[1], seed=seed)
    first, second = (statistic(x, measure.statistic, draws.scenes) for x in (some, rest))
    return estimate_from(
        over_seeds(first - second, draws), len(values), int((chosen | others).sum())
    )


def verdict(found: Estimate, measure: Measure) -> Verdict:
    """What an interval says: all of it within the margin, all on one side of zero, or neither."""
    if measure.margin is not None and max(-found.low, found.high) < measure.margin:
        return "equivalent"
    if not found.excludes_zero:
        return "not shown"
    return "better" if (found.value > 0) == measure.higher_is_better else "worse"


def _scenes_with(values: Values) -> NDArray[np.bool_]:
    """Scenes ``[scene]`` for which there is any value; all where there is none at all."""
    found = np.isfinite(values).any(axis=(0, 2))
    return np.asarray(found if found.any() else np.ones_like(found))
