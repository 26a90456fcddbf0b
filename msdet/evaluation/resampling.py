# SPDX-License-Identifier: Apache-2.0
"""Means, medians and their bootstrap over the seeds of training and the scenes of a test set.

Values are ``[seed, scene, speaker]``, NaN where there is nothing. Seeds and scenes are crossed
(every seed's network is scored on every scene), so a resample draws seeds, draws scenes, and takes
all their pairs: the pigeonhole bootstrap (Owen, Annals of Applied Statistics 1(2), 2007). Drawing
other scenes for each seed would treat one hard scene as many and give intervals too narrow.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 4000
CONFIDENCE_PERCENT = 95.0

Values = NDArray[np.float64]
Statistic = Literal["mean", "median"]


@dataclass(frozen=True)
class Estimate:
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
        """Whether the whole interval lies on one side of zero."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True)
class Draws:
    """How often a resample holds each seed, ``[draw, seed]``, and each scene, ``[draw, scene]``.

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
    """A statistic of each seed under each draw of scenes.

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
    """The mean ``[draw]`` over the seeds of each draw, of values ``[draw, seed]``."""
    # A seed that a draw leaves out must not spoil it, even where its value is NaN.
    parts = np.where(draws.seeds > 0, draws.seeds * per_seed, 0.0)
    return np.asarray(parts.sum(axis=1) / draws.seeds.sum(axis=1))


def estimate_from(replicates: NDArray[np.float64], seeds: int, scenes: int) -> Estimate:
    """The estimate that draws ``[draw]`` make, the first being the value itself."""
    tail = (100.0 - CONFIDENCE_PERCENT) / 2
    low, high = np.percentile(replicates[1:], [tail, 100.0 - tail])
    return Estimate(float(replicates[0]), float(low), float(high), seeds, scenes)


def _mean(values: Values, scenes: NDArray[np.float64]) -> NDArray[np.float64]:
    there = np.isfinite(values)
    with np.errstate(invalid="ignore"):
        per_scene = np.where(there, values, 0.0).sum(axis=2) / there.sum(axis=2)
        some = there.any(axis=2)
        return np.asarray(scenes @ np.where(some, per_scene, 0.0).T / (scenes @ some.T))


def weighted_median(
    values: NDArray[np.float64], scenes: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Medians ``[draw]`` of values ``[scene, speaker]``, the mean of the two in the middle of an
    even number; a value counts as often as its scene, ``[draw, scene]``."""
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
