# SPDX-License-Identifier: Apache-2.0
"""Beamformers: what comes from the look direction passes as it is, and the rest is reduced."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from msdet.evaluation.systems.beamformers import (
    delay_and_sum,
    mpdr,
    mvdr_from_estimates,
    oracle_mvdr,
    srp_mpdr,
)
from msdet.evaluation.systems.directions import srp_phat
from msdet.evaluation.systems.estimate import Estimate, Heard
from msdet.evaluation.systems.oracles import oracle_mask
from msdet.evaluation.systems.spectra import Spectra
from msdet.geometry import MicrophoneArray, angular_error

Arrays = dict[str, MicrophoneArray]
Beam = Callable[[Heard, NDArray[np.floating]], Estimate]
Hear = Callable[..., Heard]
Score = Callable[[NDArray[Any], NDArray[Any]], float]

TOWARDS = pytest.mark.parametrize("beam", [delay_and_sum, mpdr], ids=["sum", "mpdr"])


def audio_of(estimate: Estimate, heard: Heard) -> NDArray[np.float32]:
    """Its audio, of the right kind."""
    audio = estimate.audio
    assert audio is not None
    assert audio.dtype == np.float32
    assert audio.ndim == 2
    assert audio.shape[1] == heard.example.mixture.shape[1]
    assert np.isfinite(audio).all()
    return audio


def improvement(estimate: Estimate, heard: Heard, si_sdr: Score) -> float:
    """Mean SI-SDR over that of the reference microphone, speakers in the scene's order, dB."""
    audio, targets = audio_of(estimate, heard), heard.example.targets
    gains = [si_sdr(a, t) - si_sdr(heard.reference, t) for a, t in zip(audio, targets, strict=True)]
    return float(np.mean(gains))


def energy(signal: NDArray[np.float32]) -> float:
    return float(np.square(signal, dtype=np.float64).sum())


@TOWARDS
@pytest.mark.parametrize("name", ["circle4", "l5", "line4"])
@pytest.mark.parametrize("reference_mic", [0, 2])
def test_a_plane_wave_from_there_passes_undistorted_and_another_does_not(
    beam: Beam, name: str, reference_mic: int, arrays: Arrays, hear: Hear, si_sdr: Score
) -> None:
    heard = hear(arrays[name], [40.0], reference_mic=reference_mic, noise=1e-3)
    there, elsewhere = audio_of(beam(heard, np.array([40.0, 130.0])), heard)
    assert si_sdr(there, heard.reference) > 25
    assert energy(there) == pytest.approx(energy(heard.reference), rel=0.05)
    assert energy(elsewhere) < 0.8 * energy(heard.reference)


@TOWARDS
def test_two_voices_come_apart(beam: Beam, arrays: Arrays, hear: Hear, si_sdr: Score) -> None:
    heard = hear(arrays["circle4"], [40.0, 200.0])
    assert improvement(beam(heard, np.array([40.0, 200.0])), heard, si_sdr) > 1.0


def test_mpdr_is_sharper_than_delay_and_sum(rooms: list[Heard], si_sdr: Score) -> None:
    scores = [
        [improvement(beam(heard, heard.example.azimuth), heard, si_sdr) for heard in rooms]
        for beam in (delay_and_sum, mpdr)
    ]
    assert np.mean(scores[1]) > np.mean(scores[0]) + 1.0 > 1.0


@TOWARDS
def test_nowhere_is_the_reference_microphone(beam: Beam, arrays: Arrays, hear: Hear) -> None:
    heard = hear(arrays["circle4"], [40.0, 200.0], reference_mic=1)
    audio = audio_of(beam(heard, np.array([40.0, np.nan])), heard)
    np.testing.assert_array_equal(audio[1], heard.reference)
    np.testing.assert_array_equal(audio[0], audio_of(beam(heard, np.array([40.0])), heard)[0])


def test_the_chain_listens_where_it_found_the_voices(
    arrays: Arrays, hear: Hear, si_sdr: Score
) -> None:
    heard = hear(arrays["circle4"], [40.0, 200.0])
    estimate = srp_mpdr(heard, 2)
    assert estimate.azimuth is not None
    expected = srp_phat(heard, 2).azimuth
    np.testing.assert_array_equal(estimate.azimuth, expected)
    order = [int(angular_error(estimate.azimuth, a).argmin()) for a in heard.example.azimuth]
    assert sorted(order) == [0, 1]
    audio = audio_of(estimate, heard)[order]
    assert improvement(Estimate(audio), heard, si_sdr) > 1.0


def test_the_chain_has_audio_for_every_slot(arrays: Arrays, hear: Hear) -> None:
    heard = hear(arrays["circle4"], [40.0])
    estimate = srp_mpdr(heard, 60)
    audio = audio_of(estimate, heard)
    assert estimate.azimuth is not None
    assert audio.shape[0] == 60
    np.testing.assert_array_equal(audio[np.isnan(estimate.azimuth)][0], heard.reference)


# --- from masks ---------------------------------------------------------------------------


def test_masks_of_the_voices_take_them_apart(rooms: list[Heard], si_sdr: Score) -> None:
    for heard in rooms:
        estimate = mvdr_from_estimates(heard, heard.example.targets)
        assert improvement(estimate, heard, si_sdr) > 3.0


def test_it_is_the_beamformer_of_the_network(rooms: list[Heard]) -> None:
    from msdet.models.beamforming import beamform

    heard = rooms[0]
    spectra = Spectra(heard.sample_rate)
    mixture = spectra.of(heard.example.mixture)[None]
    estimates = spectra.of(heard.example.targets)[None]
    network = spectra.audio(beamform(mixture, estimates, 0)[0], heard.reference.shape[-1])
    here = audio_of(mvdr_from_estimates(heard, heard.example.targets), heard)
    np.testing.assert_allclose(here, network, atol=1e-5)


def test_a_silent_slot_stays_silent(rooms: list[Heard]) -> None:
    heard = rooms[0]
    targets = heard.example.targets
    with_silence = np.concatenate([targets, np.zeros_like(targets[:1])])
    audio = audio_of(mvdr_from_estimates(heard, with_silence), heard)
    assert np.abs(audio[2]).max() < 1e-6
    np.testing.assert_array_equal(audio[:2], audio_of(mvdr_from_estimates(heard, targets), heard))
    audio_of(mvdr_from_estimates(heard, np.zeros_like(targets)), heard)


# --- with the truth -----------------------------------------------------------------------


def test_the_oracle_is_a_ceiling(rooms: list[Heard], si_sdr: Score) -> None:
    for heard in rooms:
        ceiling = improvement(oracle_mvdr(heard), heard, si_sdr)
        azimuth = heard.example.azimuth
        for other in (
            delay_and_sum(heard, azimuth),
            mpdr(heard, azimuth),
            mvdr_from_estimates(heard, oracle_mask(heard).audio),  # type: ignore[arg-type]
        ):
            assert ceiling > max(0.0, improvement(other, heard, si_sdr)) + 1.0


def test_the_oracle_keeps_whatever_target_was_asked_for(rooms: list[Heard], si_sdr: Score) -> None:
    for heard in rooms:
        images = heard.parts.images[:, heard.reference_mic]
        wants_images = replace(heard, example=replace(heard.example, targets=images))
        assert improvement(oracle_mvdr(wants_images), wants_images, si_sdr) > 5.0
        # Levels are the targets' own.
        audio = audio_of(oracle_mvdr(wants_images), heard)
        for estimate, image in zip(audio, images, strict=True):
            assert (estimate @ image) / (image @ image) == pytest.approx(1.0, abs=0.1)


def test_the_oracle_of_a_silent_speaker_is_silent(rooms: list[Heard]) -> None:
    heard = rooms[0]
    images, targets = heard.parts.images.copy(), heard.example.targets.copy()
    images[1], targets[1] = 0, 0
    silenced = replace(
        heard,
        example=replace(heard.example, targets=targets),
        parts=replace(heard.parts, images=images),
    )
    audio = audio_of(oracle_mvdr(silenced), heard)
    assert energy(audio[1]) < 1e-9 < energy(audio[0])


def test_the_same_scene_gives_the_same_audio(rooms: list[Heard]) -> None:
    heard = rooms[0]
    azimuth, targets = heard.example.azimuth, heard.example.targets
    runs: list[Callable[[], Estimate]] = [
        lambda: delay_and_sum(heard, azimuth),
        lambda: mpdr(heard, azimuth),
        lambda: srp_mpdr(heard, 2),
        lambda: mvdr_from_estimates(heard, targets),
        lambda: oracle_mvdr(heard),
    ]
    for run in runs:
        np.testing.assert_array_equal(audio_of(run(), heard), audio_of(run(), heard))
