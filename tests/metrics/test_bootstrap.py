# SPDX-License-Identifier: Apache-2.0
"""Methods compared: intervals cover the truth, seeds and scenes are the units, pairs are pairs."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from msdet.metrics.bootstrap import (
    Interval,
    contrast,
    difference,
    draw,
    interval,
    interval_from,
    over_seeds,
    statistic,
    verdict,
)
from msdet.metrics.measures import COMPARED, MEASURES
from msdet.metrics.summary import summarise

GAIN = MEASURES["si_sdr_improvement_db"]
MEDIAN = MEASURES["azimuth_error_median_deg"]
WITHIN = MEASURES["azimuth_within_10deg"]


def width(found: Interval) -> float:
    return found.high - found.low


def paired_design(
    rng: np.random.Generator, seeds: int, scenes: int, gain: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Two methods ``[seed, scene, speaker]``: hard scenes and good seeds are shared by both, but
    each seed and each scene suits one of them a little better."""
    shared = 3.0 * rng.standard_normal((1, scenes, 1)) + rng.standard_normal((seeds, 1, 1))
    of_seed = 0.3 * rng.standard_normal((seeds, 1, 1))
    of_scene = 1.0 * rng.standard_normal((1, scenes, 1))
    noise = 0.5 * rng.standard_normal((2, seeds, scenes, 2))
    return shared + gain + of_seed + of_scene + noise[0], shared + noise[1]


def test_intervals_cover_the_truth_as_often_as_they_say() -> None:
    """Over new seeds and new scenes; 12 seeds make them a little narrow. Resampling scenes alone
    would cover it in two of three cases."""
    rng = np.random.default_rng(0)
    covered = scenes_alone = 0
    trials = 100
    for _ in range(trials):
        mine, theirs = paired_design(rng, 12, 40, gain=0.5)
        found = difference(mine, theirs, GAIN)
        covered += found.low <= 0.5 <= found.high
        pooled = [x.mean(axis=0, keepdims=True) for x in (mine, theirs)]
        narrow = difference(*pooled, GAIN)
        scenes_alone += narrow.low <= 0.5 <= narrow.high
    assert 0.88 <= covered / trials <= 0.98
    assert scenes_alone < covered


def test_equal_methods_differ_by_nothing() -> None:
    mine, theirs = paired_design(np.random.default_rng(1), 5, 60, gain=0.0)
    same = difference(mine, mine, GAIN)
    assert (same.value, same.low, same.high) == (0.0, 0.0, 0.0)
    # Of equal methods a difference comes of chance alone, and its interval holds zero.
    noise = np.random.default_rng(2).standard_normal((2, 5, 60, 2))
    found = difference(theirs + noise[0], theirs + noise[1], GAIN)
    assert found.low < 0 < found.high
    assert not found.excludes_zero


def test_what_both_methods_share_does_not_widen_the_interval() -> None:
    mine, theirs = paired_design(np.random.default_rng(3), 5, 60, gain=0.5)
    paired = difference(mine, theirs, GAIN)
    turned = difference(mine, theirs[:, ::-1], GAIN)
    assert paired.value == pytest.approx(turned.value)
    assert width(paired) < 0.5 * width(turned)


def test_seeds_that_agree_leave_the_interval_of_the_scenes() -> None:
    one = paired_design(np.random.default_rng(4), 1, 50, gain=0.5)
    five = [np.repeat(x, 5, axis=0) for x in one]
    for measure in (GAIN, MEDIAN, WITHIN):
        alone, together = difference(*one, measure), difference(*five, measure)
        assert (together.value, together.low, together.high) == pytest.approx(
            (alone.value, alone.low, alone.high)
        )
    assert (alone.seeds, together.seeds) == (1, 5)


def test_scenes_that_agree_leave_the_interval_of_the_seeds() -> None:
    """Of five seeds' means, resampled: its standard deviation over the root of five."""
    of_seed = np.array([0.0, 1.0, 2.0, 3.0, 4.0])
    values = np.broadcast_to(of_seed[:, None, None], (5, 100, 2))
    found = interval(np.array(values), GAIN)
    assert found.value == pytest.approx(2.0)
    expected = 1.96 * of_seed.std() / np.sqrt(5)
    assert found.high - 2.0 == pytest.approx(expected, rel=0.1)
    assert 2.0 - found.low == pytest.approx(expected, rel=0.1)


def test_a_hard_scene_is_hard_for_every_seed() -> None:
    """Scenes are drawn once for all seeds: more seeds do not make more scenes of them."""
    rng = np.random.default_rng(5)
    scenes = rng.standard_normal((1, 60, 1))
    few, many = (np.repeat(scenes, count, axis=0) for count in (2, 20))
    assert width(interval(many, GAIN)) == pytest.approx(width(interval(few, GAIN)))


def test_numbers_are_those_of_a_summary(make_row) -> None:  # type: ignore[no-untyped-def]
    rng = np.random.default_rng(6)
    rows, gains, errors = [], [], []
    for index in range(30):
        gain, error = rng.normal(5, 3, 2).tolist(), rng.exponential(8, 2).tolist()
        rows.append(make_row(index, improvement=gain, error=error))
        gains.append(gain)
        errors.append(error)
    summary = summarise(rows)
    values = {"si_sdr_improvement": gains, "azimuth_error": errors}
    for measure in COMPARED:
        if measure.quantity in values:
            found = interval(np.array([values[measure.quantity]]), measure)
            assert found.value == pytest.approx(summary[measure.name], abs=1e-6), measure.name
        assert measure.name in summary


def test_a_median_counts_a_value_as_often_as_its_scene_was_drawn() -> None:
    rng = np.random.default_rng(7)
    values = rng.standard_normal((1, 9, 2))
    values[0, 3, 1] = np.nan
    draws = draw(1, 9, resamples=50)
    found = statistic(values, "median", draws.scenes)[:, 0]
    for counts, median in zip(draws.scenes.astype(int), found, strict=True):
        assert median == pytest.approx(np.nanmedian(np.repeat(values[0], counts, axis=0)))


def test_what_one_method_lacks_is_left_out_of_both() -> None:
    mine, theirs = np.full((2, 4, 2), 3.0), np.full((2, 4, 2), 1.0)
    theirs[:, 0] = -90.0
    mine[:, 0] = np.nan
    mine[0, 1, 0], theirs[0, 1, 0] = 99.0, np.nan
    found = difference(mine, theirs, GAIN)
    assert (found.value, found.low, found.high) == (2.0, 2.0, 2.0)
    assert (found.seeds, found.scenes) == (2, 3)
    nothing = difference(np.full((2, 4, 2), np.nan), theirs, GAIN)
    assert np.isnan(nothing.value)
    assert not nothing.excludes_zero


def test_a_seed_without_values_does_not_spoil_draws_that_leave_it_out() -> None:
    draws = draw(2, 3, resamples=200)
    replicates = over_seeds(np.broadcast_to([1.0, np.nan], (201, 2)), draws)
    alone = draws.seeds[:, 1] == 0
    assert alone.any()
    assert (replicates[alone] == 1.0).all()
    assert np.isnan(interval_from(replicates, 2, 3).low)


def test_groups_of_scenes_are_contrasted() -> None:
    rng = np.random.default_rng(8)
    values = rng.standard_normal((3, 200, 2))
    chosen = np.arange(200) < 50
    values[:, chosen] += 2.0
    found = contrast(values, chosen, ~chosen, GAIN)
    assert found.low < 2.0 < found.high
    assert found.excludes_zero
    assert found.scenes == 200


@pytest.mark.parametrize(
    ("low", "high", "says"),
    [
        (-0.29, 0.29, "equivalent"),
        (0.1, 0.2, "equivalent"),
        (-0.31, 0.2, "not shown"),
        (0.1, 0.9, "better"),
        (-0.9, -0.1, "worse"),
    ],
)
def test_an_interval_says_whether_two_are_equivalent(low: float, high: float, says: str) -> None:
    found = Interval((low + high) / 2, low, high, 5, 100)
    assert verdict(found, GAIN) == says


def test_a_smaller_angular_error_is_better() -> None:
    assert verdict(Interval(-3.0, -4.0, -2.0, 5, 100), MEDIAN) == "better"
    assert verdict(Interval(0.0, -0.9, 0.9, 5, 100), MEDIAN) == "equivalent"
    assert verdict(Interval(0.1, 0.0, 0.2, 5, 100), WITHIN) == "not shown"  # no margin was set


def test_shapes_that_cannot_be_paired_are_refused() -> None:
    with pytest.raises(ValueError, match="shapes"):
        difference(np.zeros((2, 3, 2)), np.zeros((2, 4, 2)), GAIN)
