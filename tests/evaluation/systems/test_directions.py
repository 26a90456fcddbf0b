# SPDX-License-Identifier: Apache-2.0
"""Directions: plane waves are found, on every array; a voice's own bins give its own direction."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from msdet.evaluation.systems import directions
from msdet.evaluation.systems.directions import (
    music,
    srp_phat,
    steered_power,
    weighted_srp_phat,
)
from msdet.evaluation.systems.estimate import Estimate, Heard
from msdet.evaluation.systems.spectra import Spectra
from msdet.geometry import (
    MicrophoneArray,
    angular_error,
    far_field_delays,
    rotate_about_vertical,
)

Arrays = dict[str, MicrophoneArray]
Find = Callable[[Heard, int], Estimate]
Hear = Callable[..., Heard]

METHODS = pytest.mark.parametrize("find", [srp_phat, music], ids=["srp", "music"])


def found(find: Find, heard: Heard, count: int) -> NDArray[np.float64]:
    estimate = find(heard, count)
    assert estimate.audio is None
    assert estimate.azimuth is not None
    assert estimate.azimuth.shape == (count,)
    assert estimate.azimuth.dtype == np.float64
    return estimate.azimuth


@METHODS
@pytest.mark.parametrize("name", ["circle4", "circle6", "l5", "tetrahedron", "respeaker4"])
@pytest.mark.parametrize("azimuth", [0.0, 37.0, 143.0, 271.0, 359.4])
def test_a_plane_wave_is_found(
    find: Find, name: str, azimuth: float, arrays: Arrays, hear: Hear
) -> None:
    estimate = found(find, hear(arrays[name], [azimuth]), 1)
    assert angular_error(estimate, azimuth) <= 2.0


@METHODS
@pytest.mark.parametrize("name", ["line2", "line4"])
@pytest.mark.parametrize("angle", [30.0, 57.5, 90.0, 141.0])
def test_a_line_finds_the_angle_to_its_axis(
    find: Find, name: str, angle: float, arrays: Arrays, hear: Hear
) -> None:
    assert abs(found(find, hear(arrays[name], [angle]), 1)[0] - angle) <= 2.0


@METHODS
@pytest.mark.parametrize("angle", [0.0, 180.0])
def test_the_ends_of_a_line_are_directions_too(
    find: Find, angle: float, arrays: Arrays, hear: Hear
) -> None:
    # The angle to the axis is a cosine: near the ends it says little, 10 degrees are 1.5 %.
    assert abs(found(find, hear(arrays["line4"], [angle]), 1)[0] - angle) <= 10.0


@METHODS
def test_a_line_may_lie_anywhere(find: Find, arrays: Arrays, hear: Hear) -> None:
    along_x = arrays["line4"]
    upright = MicrophoneArray("upright", tuple((0.0, y, x) for x, y, _ in along_x.positions))
    expected = found(find, hear(along_x, [50.0, 120.0]), 2)
    np.testing.assert_array_equal(found(find, hear(upright, [50.0, 120.0]), 2), expected)


@METHODS
@pytest.mark.parametrize(
    ("name", "azimuths"),
    [
        ("circle4", [40.0, 200.0]),
        ("circle6", [355.0, 60.0]),
        ("l5", [100.0, 310.0]),
        ("line4", [50.0, 120.0]),
    ],
)
def test_two_voices_are_found(
    find: Find, name: str, azimuths: list[float], arrays: Arrays, hear: Hear
) -> None:
    estimate = found(find, hear(arrays[name], azimuths), 2)
    errors = angular_error(estimate[:, None], np.array(azimuths))
    assert sorted(errors.argmin(axis=0)) == [0, 1]
    # The wide lobes of steered power pull each other; subspaces do not.
    assert errors.min(axis=0).max() <= (10.0 if find is srp_phat else 4.0)


@METHODS
def test_turning_the_array_turns_the_directions(find: Find, arrays: Arrays, hear: Hear) -> None:
    array = arrays["l5"]
    turned = MicrophoneArray(
        "turned", tuple(map(tuple, rotate_about_vertical(array.as_array(), 25.0)))
    )
    before = found(find, hear(array, [70.0, 190.0]), 2)
    after = found(find, hear(turned, [95.0, 215.0]), 2)
    np.testing.assert_array_equal(after, before + 25.0)


@METHODS
def test_what_is_not_found_is_nan(find: Find, arrays: Arrays, hear: Hear) -> None:
    count = 60  # more than there can be peaks
    estimate = found(find, hear(arrays["circle4"], [80.0]), count)
    number = np.isfinite(estimate).sum()
    assert 1 <= number < count
    assert np.isnan(estimate[number:]).all()
    assert len(np.unique(estimate[:number])) == number
    assert angular_error(estimate[0], 80.0) <= 2.0


@METHODS
def test_as_many_voices_as_microphones_can_be_asked_for(
    find: Find, arrays: Arrays, hear: Hear
) -> None:
    estimate = found(find, hear(arrays["line2"], [60.0, 130.0]), 2)
    assert np.isfinite(estimate[0])


@METHODS
def test_the_same_scene_gives_the_same_directions(find: Find, rooms: list[Heard]) -> None:
    first, second = found(find, rooms[0], 2), found(find, rooms[0], 2)
    np.testing.assert_array_equal(first, second)


# --- by separated voice -------------------------------------------------------------------


@pytest.mark.parametrize("name", ["circle4", "l5", "line4"])
def test_each_slot_is_found_where_its_own_voice_is(name: str, arrays: Arrays, hear: Hear) -> None:
    azimuths = np.array([40.0, 150.0])
    heard = hear(arrays[name], list(azimuths))
    targets = heard.example.targets
    assert angular_error(weighted_srp_phat(heard, targets), azimuths).max() <= 2.0
    assert angular_error(weighted_srp_phat(heard, targets[::-1]), azimuths[::-1]).max() <= 2.0


def test_each_slot_is_found_in_rooms(rooms: list[Heard]) -> None:
    errors = [
        angular_error(weighted_srp_phat(heard, heard.example.targets), heard.example.azimuth)
        for heard in rooms
    ]
    assert np.max(errors) <= 10.0


def test_a_silent_slot_has_no_direction(arrays: Arrays, hear: Hear) -> None:
    heard = hear(arrays["circle4"], [40.0, 200.0])
    targets = heard.example.targets
    silent = np.zeros_like(targets[:1])
    azimuth = weighted_srp_phat(heard, np.concatenate([targets, silent]))
    np.testing.assert_array_equal(azimuth[:2], weighted_srp_phat(heard, targets))
    assert np.isnan(azimuth[2])
    assert np.isnan(weighted_srp_phat(heard, np.zeros_like(targets))).all()


@pytest.mark.parametrize("name", ["circle4", "l5", "line4"])
def test_with_all_bins_alike_it_is_the_srp_of_pyroomacoustics(
    name: str, arrays: Arrays, hear: Hear
) -> None:
    from pyroomacoustics.doa import SRP

    heard = hear(arrays[name], [40.0, 150.0])
    array, spectra = heard.array, Spectra(heard.sample_rate)
    mixture, band = spectra.of(heard.example.mixture), directions._band(spectra)
    setup = directions._setup(heard, spectra)
    doa = SRP(num_src=2, **setup)
    doa.locate_sources(mixture.numpy(), freq_bins=band)

    azimuths = np.degrees(setup["azimuth"])
    used = mixture[:, band]
    power = steered_power(
        used,
        torch.ones((1, *used.shape[1:]), dtype=torch.float64),
        far_field_delays(array.as_array(), azimuths),
        spectra.frequencies[band],
    )[0]
    # Theirs counts each pair twice, and each microphone with itself.
    pairs = array.num_mics * (array.num_mics - 1) / 2
    expected = 2 * power.numpy() + array.num_mics / pairs
    np.testing.assert_allclose(doa.grid.values, expected, atol=1e-4)


def test_the_power_of_a_plane_wave_is_one_where_it_comes_from(arrays: Arrays, hear: Hear) -> None:
    heard = hear(arrays["circle4"], [90.0], noise=1e-4)
    spectra = Spectra(heard.sample_rate)
    band = directions._band(spectra)
    mixture = spectra.of(heard.example.mixture)[:, band]
    delays = far_field_delays(heard.array.as_array(), [90.0, 270.0])
    weights = mixture[:1].abs().square()
    power = steered_power(mixture, weights, delays, spectra.frequencies[band])[0]
    assert power[0] == pytest.approx(1.0, abs=0.01)
    assert power[1] < 0.7
