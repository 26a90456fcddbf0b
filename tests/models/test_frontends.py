# SPDX-License-Identifier: Apache-2.0
"""Directional features: what they say of plane waves, diffuse fields, and turned arrays."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from msdet.geometry import MicrophoneArray, far_field_delays
from msdet.models.frontends import (
    DirectionalFeatures,
    DirectionalFrontend,
    RealImaginaryFrontend,
    log_magnitude,
    look_grid,
    phase_differences,
)

Arrays = dict[str, MicrophoneArray]

FREQUENCIES = np.linspace(0.0, 4000.0, 65)
AUDIBLE = torch.from_numpy(FREQUENCIES > 500)
DIRECTIONS = 36


def positions_of(array: MicrophoneArray) -> torch.Tensor:
    return torch.tensor(array.positions, dtype=torch.float32)


def features_of(
    array: MicrophoneArray, elevations: tuple[float, ...] = (0.0,)
) -> DirectionalFeatures:
    looks = look_grid(DIRECTIONS, array.is_linear)
    return DirectionalFeatures(looks, FREQUENCIES, elevations)


def scores(
    array: MicrophoneArray, spectra: torch.Tensor, elevations: tuple[float, ...] = (0.0,)
) -> torch.Tensor:
    """``[batch, freq, direction, frame]``."""
    features = features_of(array, elevations)
    return features(phase_differences(spectra), features.steering(positions_of(array)))


def plane_waves(
    array: MicrophoneArray, azimuth: NDArray[np.float64] | float, elevation: object = 0.0
) -> torch.Tensor:
    """White plane waves, one a batch entry: complex ``[batch, mic, freq, frame=2]``."""
    delays = np.atleast_2d(far_field_delays(array.as_array(), azimuth, elevation))  # type: ignore[arg-type]
    phases = np.exp(-2j * np.pi * FREQUENCIES * delays[..., None])
    rng = np.random.default_rng(0)
    source = rng.standard_normal((2, len(delays), 1, 65, 2))
    return torch.from_numpy((source[0] + 1j * source[1]) * phases[..., None]).to(torch.complex64)


def random_spectra(mics: int, frames: int = 5, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(1, mics, 65, frames, dtype=torch.complex64, generator=generator)


@pytest.mark.parametrize("look", [0, 5, 17, 35])
@pytest.mark.parametrize("name", ["circle4", "circle6", "l5", "respeaker4", "tetrahedron", "line4"])
def test_a_plane_wave_scores_highest_in_its_own_direction(
    arrays: Arrays, name: str, look: int
) -> None:
    array = arrays[name]
    azimuth = float(look_grid(DIRECTIONS, array.is_linear).centres[look])
    found = scores(array, plane_waves(array, azimuth))[0, AUDIBLE]  # [freq, direction, frame]
    assert (found[:, look] >= found.amax(1) - 1e-3).all(), "in every bin, aliases at most equal it"
    assert int(found.mean((0, 2)).argmax()) == look, "over all bins, no alias does"


def test_an_elevated_source_scores_higher_where_elevations_are_given(arrays: Arrays) -> None:
    spectra = plane_waves(arrays["circle6"], 70.0, 60.0)
    flat = scores(arrays["circle6"], spectra)[0, AUDIBLE].mean((0, 2))
    raised = scores(arrays["circle6"], spectra, (0.0, 30.0, 60.0))[0, AUDIBLE].mean((0, 2))
    assert int(raised.argmax()) == 7
    assert raised[7] > flat[7] + 0.1


@pytest.mark.parametrize("name", ["circle4", "l5", "line4"])
def test_scores_are_relative_to_the_mean_over_directions(arrays: Arrays, name: str) -> None:
    array = arrays[name]
    found = scores(array, random_spectra(array.num_mics))
    torch.testing.assert_close(found.mean(2), torch.zeros_like(found[:, :, 0]), atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", ["circle4", "circle6", "l5", "tetrahedron"])
def test_a_diffuse_field_spreads_scores_by_one_at_every_frequency(
    arrays: Arrays, name: str
) -> None:
    """Waves from all over the sphere; less at the lowest frequencies: phases tell nothing there."""
    rng = np.random.default_rng(1)
    azimuths = rng.uniform(0, 360, 600)
    elevations = np.degrees(np.arcsin(rng.uniform(-1, 1, 600)))
    spread = scores(arrays[name], plane_waves(arrays[name], azimuths, elevations))
    spread = spread.square().mean((0, 2, 3)).sqrt()  # [freq]
    assert (spread < 1.15).all()
    assert (spread[torch.from_numpy(FREQUENCIES > 1000)] > 0.85).all()
    assert spread[0] < 1e-3


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("name", ["circle4", "l5", "tetrahedron", "line4"])
def test_naming_microphones_in_another_order_changes_nothing(
    arrays: Arrays, name: str, seed: int
) -> None:
    """But for a line that is named from its other end, which turns the line."""
    array = arrays[name]
    order = torch.randperm(array.num_mics, generator=torch.Generator().manual_seed(seed))
    spectra, positions = random_spectra(array.num_mics), positions_of(array)
    features = features_of(array)
    plain = features(phase_differences(spectra), features.steering(positions))
    renamed = features(phase_differences(spectra[:, order]), features.steering(positions[order]))
    turned = array.is_linear and positions[order[0], 0] > 0
    expected = plain.flip(2) if turned else plain
    torch.testing.assert_close(renamed, expected, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("name", ["circle4", "circle6", "respeaker4", "tetrahedron"])
def test_turning_an_array_by_its_symmetry_rolls_the_directions(arrays: Arrays, name: str) -> None:
    array = arrays[name]
    spectra = random_spectra(array.num_mics)
    plain = scores(array, spectra)
    for degrees, permutation in array.rotations():
        turned = scores(array, spectra[:, list(permutation)])
        steps = round(degrees / (360 / DIRECTIONS))
        torch.testing.assert_close(turned, plain.roll(-steps, dims=2), atol=2e-3, rtol=2e-3)


def test_levels_of_microphones_do_not_matter(arrays: Arrays) -> None:
    spectra = random_spectra(4)
    gains = torch.tensor([0.2, 1.0, 3.0, 50.0])[:, None, None]
    found = scores(arrays["circle4"], spectra)
    torch.testing.assert_close(
        scores(arrays["circle4"], spectra * gains), found, atol=1e-4, rtol=1e-4
    )


def test_silence_says_nothing_and_has_a_gradient(arrays: Arrays) -> None:
    spectra = torch.zeros(1, 4, 65, 3, dtype=torch.complex64, requires_grad=True)
    found = scores(arrays["circle4"], spectra)
    assert found.abs().max() == 0
    found.square().sum().backward()
    assert spectra.grad is not None
    assert torch.isfinite(torch.view_as_real(spectra.grad)).all()


def test_phase_differences_are_cosines_then_sines_of_every_pair() -> None:
    spectra = torch.polar(torch.tensor([2.0, 1.0, 0.5]), torch.tensor([0.0, -0.3, -0.8]))
    found = phase_differences(spectra[None, :, None, None])[0, 0, :, 0]
    lags = torch.tensor([0.3, 0.8, 0.5])  # pairs 01, 02, 12
    torch.testing.assert_close(found, torch.cat([lags.cos(), lags.sin()]), atol=1e-6, rtol=0)


# --- what the encoder reads ---------------------------------------------------------------


def test_directional_frontend_adds_level_and_frequency(arrays: Arrays) -> None:
    spectra = random_spectra(4)
    directional = scores(arrays["circle4"], spectra)
    frontend = DirectionalFrontend(DIRECTIONS, FREQUENCIES)
    features = frontend(spectra, directional, 2)
    assert features.shape == (1, frontend.out_channels, 65, 5)
    torch.testing.assert_close(features[:, :DIRECTIONS], directional.transpose(1, 2))
    torch.testing.assert_close(features[:, -2], log_magnitude(spectra[:, 2]))
    frequency = features[0, -1, :, 0]
    assert (frequency[2:].diff() > 0).all()


def test_real_imaginary_frontend_keeps_the_whole_recording() -> None:
    spectra = random_spectra(3)
    frontend = RealImaginaryFrontend(3, FREQUENCIES)
    features = frontend(spectra, torch.empty(0), 0)
    assert features.shape == (1, frontend.out_channels, 65, 5)
    assert torch.equal(torch.complex(features[:, :3], features[:, 3:6]), spectra)


@pytest.mark.parametrize(("count", "linear", "last"), [(36, False, 350.0), (37, True, 180.0)])
def test_look_directions_cover_what_the_array_observes(
    count: int, linear: bool, last: float
) -> None:
    centres = look_grid(count, linear).centres
    assert (len(centres), centres[0]) == (count, 0.0)
    assert centres[-1] == pytest.approx(last)
