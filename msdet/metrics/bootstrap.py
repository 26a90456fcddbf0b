# SPDX-License-Identifier: Apache-2.0
"""Measures with intervals, paired differences, and equivalence: a bootstrap over seeds and scenes.

Values are ``[seed, scene, speaker]`` of one method on one set of scenes, NaN where there is
nothing; a quantity of a whole scene has one column. Seeds of training and scenes are crossed
(every seed's network is scored on every scene), so a resample draws seeds, draws scenes, and takes
all their pairs: the pigeonhole bootstrap (Owen, Annals of Applied Statistics 1(2), 2007). Drawing
other scenes for each seed would treat one hard scene as many and give intervals too narrow.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from msdet.metrics.measures import Measure, Statistic

RESAMPLES = 4000
CONFIDENCE_PERCENT = 95.0

Values = NDArray[np.float64]
Verdict = Literal["equivalent", "better", "worse", "not shown"]


@dataclass(frozen=True)
class Interval:
    """A number with its percentile interval.

    Attributes:
        value: NaN where there was nothing to average.
        low, high: NaN where some resamples had nothing to average.
        seeds, scenes: how many stand behind it.
    """

    value: float
    low: float
    high: float
    seeds: int
    scenes: int

    @property
    def excludes_zero(self) -> bool:
        """True where the whole interval lies on one side of zero."""
        return self.low > 0 or self.high < 0


def interval(values: Values, measure: Measure, *, seed: int = 0) -> Interval:
    """Return a measure of one method, over its seeds and the scenes that have values."""
    taken = measure.of(values[:, _scenes_with(values)])
    draws = draw(taken.shape[0], taken.shape[1], seed=seed)
    per_seed = statistic(taken, measure.statistic, draws.scenes)
    return interval_from(over_seeds(per_seed, draws), *taken.shape[:2])


def difference(values: Values, reference: Values, measure: Measure, *, seed: int = 0) -> Interval:
    """Return a method minus its reference, paired by seed, scene and speaker.

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
    return interval_from(over_seeds(first - second, draws), *mine.shape[:2])


def contrast(
    values: Values,
    chosen: NDArray[np.bool_],
    others: NDArray[np.bool_],
    measure: Measure,
    *,
    seed: int = 0,
) -> Interval:
    """Return some scenes of a set minus other ones, for one method.

    Args:
        chosen, others: ``[scene]``; they share none.
    """
    some, rest = (
        np.where(group[None, :, None], measure.of(values), np.nan) for group in (chosen, others)
    )
    draws = draw(values.shape[0], values.shape[1], seed=seed)
    first, second = (statistic(x, measure.statistic, draws.scenes) for x in (some, rest))
    return interval_from(
        over_seeds(first - second, draws), len(values), int((chosen | others).sum())
    )


def verdict(found: Interval, measure: Measure) -> Verdict:
    """Return what an interval says: within the margin, on one side of zero, or neither."""
    if measure.margin is not None and max(-found.low, found.high) < measure.margin:
        return "equivalent"
    if not found.excludes_zero:
        return "not shown"
    return "better" if (found.value > 0) == measure.higher_is_better else "worse"


def _scenes_with(values: Values) -> NDArray[np.bool_]:
    """Scenes ``[scene]`` for which there is any value; all where there is none at all."""
    found = np.isfinite(values).any(axis=(0, 2))
    return np.asarray(found if found.any() else np.ones_like(found))


@dataclass(frozen=True)
class Draws:
    """Counts of each seed in a resample, ``[draw, seed]``, and of each scene, ``[draw, scene]``.

    The first draw holds each once: it gives the value that the others are an interval for.
    """

    seeds: NDArray[np.float64]
    scenes: NDArray[np.float64]


def draw(num_seeds: int, num_scenes: int, *, seed: int = 0, resamples: int = RESAMPLES) -> Draws:
    """Draw seeds and scenes with replacement, as many as there are."""
    rng = np.random.default_rng(seed)

    def counts(size: int) -> NDArray[np.float64]:
        drawn = rng.multinomial(size, np.full(size, 1.0 / size), size=resamples)
        return np.concatenate([np.ones((1, size)), drawn.astype(np.float64)])

    scenes = counts(num_scenes)  # first: the same for any number of seeds
    return Draws(counts(num_seeds), scenes)


def statistic(values: Values, how: Statistic, scenes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a statistic of each seed under each draw of scenes.

    Args:
        values: ``[seed, scene, speaker]``.
        how: ``mean`` is over the speakers of a scene, then over scenes; ``median`` is over all
            speakers, the mean of the two in the middle of an even number.
        scenes: how often each scene counts, ``[draw, scene]``.
    Returns:
        ``[draw, seed]``; NaN where there is nothing.
    """
    if how == "mean":
        return _mean(values, scenes)
    return np.stack([weighted_median(of_seed, scenes) for of_seed in values], axis=1)


def over_seeds(per_seed: NDArray[np.float64], draws: Draws) -> NDArray[np.float64]:
    """Return the mean ``[draw]`` over the seeds of each draw, of values ``[draw, seed]``."""
    # A seed that a draw leaves out must not spoil it, even where its value is NaN.
    parts = np.where(draws.seeds > 0, draws.seeds * per_seed, 0.0)
    return np.asarray(parts.sum(axis=1) / draws.seeds.sum(axis=1))


def interval_from(replicates: NDArray[np.float64], seeds: int, scenes: int) -> Interval:
    """Return the interval that draws ``[draw]`` make, the first being the value itself."""
    tail = (100.0 - CONFIDENCE_PERCENT) / 2
    low, high = np.percentile(replicates[1:], [tail, 100.0 - tail])
    return Interval(float(replicates[0]), float(low), float(high), seeds, scenes)


def _mean(values: Values, scenes: NDArray[np.float64]) -> NDArray[np.float64]:
    there = np.isfinite(values)
    with np.errstate(invalid="ignore"):
        per_scene = np.where(there, values, 0.0).sum(axis=2) / there.sum(axis=2)
        some = there.any(axis=2)
        return np.asarray(scenes @ np.where(some, per_scene, 0.0).T / (scenes @ some.T))


def weighted_median(
    values: NDArray[np.float64], scenes: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return medians ``[draw]`` of values ``[scene, speaker]``.

    The mean of the two in the middle of an even number; a value counts as often as its scene,
    ``[draw, scene]``.
    """
    scene, speaker = np.nonzero(np.isfinite(values))
    if not len(scene):
        return np.full(len(scenes), np.nan)
    found = values[scene, speaker]
    order = np.argsort(found)
    upto = np.cumsum(scenes[:, scene[order]], axis=1)
    total = upto[:, -1:]
    lower = found[order][(upto >= np.floor((total + 1) / 2)).argmax(axis=1)]
    upper = found[order][(upto >= np.floor(total / 2) + 1).argmax(axis=1)]
    return np.where(total[:, 0] > 0, (lower + upper) / 2, np.nan)
