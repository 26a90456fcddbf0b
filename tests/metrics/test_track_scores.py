# SPDX-License-Identifier: Apache-2.0
"""Directions over time against speakers who walk, by tracks whose errors are known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from msdet.metrics import SceneRow, SceneTruth, summarise
from msdet.metrics.scene import score_scene
from msdet.metrics.scores import Claims
from msdet.metrics.tracks import heard_moments, identity_switches

RATE, SECONDS = 8000, 6
MOMENTS = 10 * SECONDS + 1
TRUE = np.stack([np.linspace(350, 410, MOMENTS), np.linspace(200, 140, MOMENTS)])
"""One walks through 0 degrees, the other the other way; not wrapped, as labels have it."""


@pytest.fixture(scope="module")
def truth() -> SceneTruth:
    rng = np.random.default_rng(0)
    targets = rng.standard_normal((2, RATE * SECONDS))
    mixture = targets.sum(axis=0) + 0.1 * rng.standard_normal(RATE * SECONDS)
    return SceneTruth(targets, mixture, RATE, TRUE[:, 0] % 360, track=TRUE)


def scored(truth: SceneTruth, track: NDArray[np.float64] | None, **claims: Any) -> Any:
    azimuth = claims.pop("azimuth", TRUE[:, 0] % 360)
    return score_scene(truth.targets, truth, Claims(azimuth=azimuth, track=track, **claims))


def test_a_track_that_is_true_has_no_error(truth: SceneTruth) -> None:
    score = scored(truth, TRUE % 360)
    for speaker in score.speakers:
        assert speaker.azimuth_error == pytest.approx(0, abs=1e-9)
        assert speaker.frames_within == {5: 1, 10: 1, 15: 1}
    assert score.identity_switches == 0
    assert score.wrong_slot == (False, False)


def test_who_says_one_direction_is_as_wrong_as_the_speaker_walks_away(truth: SceneTruth) -> None:
    score = scored(truth, None)
    assert score.identity_switches is None
    for speaker in score.speakers:
        assert speaker.azimuth_error == pytest.approx(30)  # the mean of 0 to 60
        assert speaker.frames_within == {
            limit: pytest.approx((limit + 1) / MOMENTS, abs=1e-6) for limit in (5, 10, 15)
        }


def test_errors_are_means_over_the_moments_and_shares_of_them(truth: SceneTruth) -> None:
    track = TRUE % 360
    track[0, : MOMENTS // 2] += 12
    first, second = scored(truth, track).speakers
    assert first.azimuth_error == pytest.approx(12 * 30 / MOMENTS)
    assert first.frames_within == {
        5: pytest.approx(31 / 61, abs=1e-6),
        10: pytest.approx(31 / 61, abs=1e-6),
        15: 1,
    }
    assert second.azimuth_error == pytest.approx(0)


def test_a_slot_that_claims_nothing_is_as_wrong_as_can_be(truth: SceneTruth) -> None:
    track = TRUE % 360
    track[1] = np.nan
    score = scored(truth, track, azimuth=[TRUE[0, 0] % 360, np.nan])
    assert score.speakers[1].azimuth_error is None
    assert score.speakers[1].frames_within == {5: 0, 10: 0, 15: 0}
    assert score.identity_switches is None
    assert [f.metric for f in score.failures] == ["azimuth", "azimuth_best_matched"]


def test_a_moment_without_a_direction_is_180_degrees_off(truth: SceneTruth) -> None:
    track = TRUE % 360
    track[0, 10:20] = np.nan
    (first, _) = scored(truth, track).speakers
    assert first.azimuth_error == pytest.approx(180 * 10 / MOMENTS)
    assert first.frames_within == {limit: pytest.approx(51 / 61, abs=1e-6) for limit in (5, 10, 15)}
    targets = truth.targets.copy()
    targets[:, RATE * 3 :] = 0
    quiet = SceneTruth(targets, truth.mixture, RATE, truth.azimuth, track=TRUE)
    track = TRUE % 360
    track[:, 40:] = np.nan  # nobody is heard there
    for speaker in score_scene(targets, quiet, Claims(TRUE[:, 0] % 360, track=track)).speakers:
        assert speaker.azimuth_error == pytest.approx(0, abs=1e-9)


def test_silence_does_not_count(truth: SceneTruth) -> None:
    targets = truth.targets.copy()
    targets[0, RATE * 3 :] = 0
    quiet = SceneTruth(targets, truth.mixture, RATE, truth.azimuth, track=TRUE)
    track = TRUE % 360
    track[0, 33:] += 90  # from .3 s behind the last sound
    (first, _) = score_scene(targets, quiet, Claims(TRUE[:, 0] % 360, track=track)).speakers
    assert first.azimuth_error == pytest.approx(0, abs=1e-9)


def test_tracks_that_change_over_are_counted(truth: SceneTruth) -> None:
    track = TRUE % 360
    track[:, 20:40] = track[::-1, 20:40]
    assert scored(truth, track).identity_switches == pytest.approx(2 / (SECONDS / 60))
    heard = np.ones((2, MOMENTS), np.bool_)
    assert identity_switches(track, TRUE, heard, {0: 0, 1: 1}) == 2
    assert identity_switches(track, TRUE, heard, {0: 1, 1: 0}) == 2
    near = np.stack([TRUE[0], TRUE[0] + 8])
    assert identity_switches(near[::-1], near, heard, {0: 0, 1: 1}) == 0  # too near to tell


def test_heard_is_who_has_energy_around_a_moment() -> None:
    signals = np.zeros((2, RATE))
    signals[0, 1900:4000] = 1.0
    moments = np.arange(11) / 10
    heard = heard_moments(signals, RATE, moments)
    np.testing.assert_array_equal(np.flatnonzero(heard[0]), [2, 3, 4, 5])
    assert not heard[1].any()


def test_tracks_of_another_length_are_refused(truth: SceneTruth) -> None:
    with pytest.raises(ValueError, match=f"tracks of {MOMENTS} moments"):
        scored(truth, TRUE[:, :-1])
    with pytest.raises(ValueError, match="track must be 2 rows"):
        SceneTruth(truth.targets, truth.mixture, RATE, track=TRUE[:1])


def test_a_summary_tells_of_tracks_only_where_people_walk(truth: SceneTruth) -> None:
    still = SceneTruth(truth.targets, truth.mixture, RATE, truth.azimuth)
    walking = summarise([SceneRow.of(scored(truth, TRUE % 360), 0)], "model")
    standing = summarise([SceneRow.of(scored(still, None), 0)], "model")
    assert walking["frames_within_10deg"] == 1
    assert walking["identity_switches"] == 0
    assert standing["frames_within_10deg"] is None
    assert standing["identity_switches"] is None
    row = SceneRow.of(scored(truth, TRUE % 360), 0)
    assert SceneRow.model_validate_json(row.model_dump_json()) == row
