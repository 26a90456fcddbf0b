# SPDX-License-Identifier: Apache-2.0
"""MVDR beamformers between two masks, on free-field mixtures."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from msdet.audio import Stft
from msdet.geometry import MicrophoneArray, far_field_delays
from msdet.models.beamforming import (
    beamform,
    beamform_towards,
    delayed,
    inverse_coherence,
    mvdr_weights,
    no_louder,
    plane_waves,
    predict_paths,
    superdirective_weights,
)

STFT = Stft(256, 128)
AZIMUTHS = [40.0, 160.0]


@pytest.fixture(scope="module")
def images(
    arrays: dict[str, MicrophoneArray],
    voices: NDArray[np.float64],
    free_field: Callable[..., NDArray[np.float64]],
) -> NDArray[np.float64]:
    return free_field(arrays["circle4"], voices[:2], AZIMUTHS)


@pytest.fixture(scope="module")
def mixture(images: NDArray[np.float64]) -> torch.Tensor:
    """``[1, mic, sample]``, sensor noise 30 dB down."""
    noise = np.random.default_rng(0).standard_normal(images.shape[1:])
    return torch.from_numpy(images.sum(0) + 0.045 * noise).float()[None]


def si_sdr(estimate: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    scale = (estimate * target).sum(-1, keepdim=True) / target.square().sum(-1, keepdim=True)
    error = estimate - scale * target
    return 10 * torch.log10((scale * target).square().sum(-1) / error.square().sum(-1))


@pytest.mark.parametrize("reference", [0, 2])
def test_it_takes_each_speaker_out_of_a_mixture(
    images: NDArray[np.float64], mixture: torch.Tensor, reference: int
) -> None:
    targets = torch.from_numpy(images[:, reference]).float()
    estimates = STFT(targets)[None]
    beams = STFT.inverse(beamform(STFT(mixture), estimates, reference), targets.shape[-1])[0]
    gained = si_sdr(beams, targets) - si_sdr(mixture[0, reference].expand_as(targets), targets)
    assert (gained > 5.0).all(), gained
    kept = (beams * targets).sum(-1) / targets.square().sum(-1)
    assert ((kept > 0.85) & (kept < 1.1)).all(), f"a speaker's own direction passes: {kept}"


def test_slots_are_treated_alike(images: NDArray[np.float64], mixture: torch.Tensor) -> None:
    estimates = STFT(torch.from_numpy(images[:, 0]).float())[None]
    plain = beamform(STFT(mixture), estimates, 0)
    swapped = beamform(STFT(mixture), estimates.flip(1), 0)
    torch.testing.assert_close(swapped.flip(1), plain, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("gain", [0.0, 1e-4, 1e4])
def test_silent_and_loud_mixtures_stay_finite(mixture: torch.Tensor, gain: float) -> None:
    spectra = STFT(mixture) * gain
    for estimates in (torch.zeros_like(spectra[:, :2]), spectra[:, :2] * 0.5):
        beams = beamform(spectra, estimates, 0)
        assert torch.isfinite(torch.view_as_real(beams)).all()
        assert beams.abs().max() <= 10 * spectra.abs().max()


def test_no_gradient_passes(mixture: torch.Tensor) -> None:
    spectra = STFT(mixture)
    estimates = (spectra[:, :2] * 0.5).requires_grad_()
    assert not beamform(spectra, estimates, 0).requires_grad


def test_weights_are_those_of_torchaudio() -> None:
    """Ours are written in operations that can be exported."""
    from torchaudio.functional import mvdr_weights_souden

    generator = torch.Generator().manual_seed(0)
    parts = torch.randn(2, 3, 5, 4, 8, dtype=torch.complex64, generator=generator)
    wanted, unwanted = parts @ parts.mH
    for reference in range(4):
        theirs = mvdr_weights_souden(wanted, unwanted, reference, diag_eps=1e-3)
        ours = mvdr_weights(wanted, unwanted, reference)
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


# --- steered ------------------------------------------------------------------------------


def steering(array: MicrophoneArray, azimuth: list[float], reference: int = 0) -> torch.Tensor:
    frequencies = torch.from_numpy(STFT.frequencies(8000)).float()
    positions = torch.tensor(array.positions)
    waves = torch.tensor([azimuth])
    return plane_waves(waves, positions, frequencies, reference, array.is_linear)


@pytest.mark.parametrize("name", ["circle4", "line4"])
def test_plane_waves_arrive_when_the_geometry_says(
    arrays: dict[str, MicrophoneArray], name: str
) -> None:
    array = arrays[name]
    delays = far_field_delays(array.as_array(), AZIMUTHS)  # [azimuth, mic]
    delays = delays - delays[:, 2:3]
    expected = np.exp(-2j * np.pi * STFT.frequencies(8000)[:, None] * delays[:, None])
    found = steering(array, AZIMUTHS, reference=2)[0]
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-4)


@pytest.mark.parametrize("reference", [0, 2])
def test_steered_it_passes_its_direction_and_removes_the_rest(
    images: NDArray[np.float64],
    mixture: torch.Tensor,
    arrays: dict[str, MicrophoneArray],
    reference: int,
) -> None:
    targets = torch.from_numpy(images[:, reference]).float()
    towards = steering(arrays["circle4"], AZIMUTHS, reference)
    beams = beamform_towards(STFT(mixture), STFT(targets)[None], towards[:, :, None])
    heard = STFT.inverse(beams, targets.shape[-1])[0]
    gained = si_sdr(heard, targets) - si_sdr(mixture[0, reference].expand_as(targets), targets)
    assert (gained > 10.0).all(), gained
    kept = (heard * targets).sum(-1) / targets.square().sum(-1)
    assert ((kept > 0.95) & (kept < 1.05)).all(), kept


def test_steered_it_leaves_out_an_echo_that_the_estimate_does_not_hold(
    images: NDArray[np.float64], arrays: dict[str, MicrophoneArray]
) -> None:
    """The second voice is the first one's echo, from elsewhere and later: correlated with it."""
    echo = 0.7 * np.roll(np.roll(images[0], 1, axis=0), 400, axis=-1)  # a quarter turn on
    mixture = torch.from_numpy(images[0] + echo).float()[None]
    target = torch.from_numpy(images[0, 0]).float()[None]
    spectra, estimate = STFT(mixture), STFT(target)[None]
    towards = steering(arrays["circle4"], AZIMUTHS[:1])
    steered = STFT.inverse(
        beamform_towards(spectra, estimate, towards[:, :, None]), target.shape[-1]
    )[0]
    before = si_sdr(mixture[0, :1], target)
    assert (si_sdr(steered, target) - before > 10.0).all()


@pytest.mark.parametrize("gain", [0.0, 1e-4, 1e4])
def test_steered_silent_and_loud_mixtures_stay_finite(
    mixture: torch.Tensor, arrays: dict[str, MicrophoneArray], gain: float
) -> None:
    spectra = STFT(mixture) * gain
    towards = steering(arrays["circle4"], AZIMUTHS)
    for estimates in (torch.zeros_like(spectra[:, :2]), spectra[:, :2] * 0.5):
        beams = beamform_towards(spectra, estimates, towards[:, :, None])
        assert torch.isfinite(torch.view_as_real(beams)).all()
        assert beams.abs().max() <= 10 * spectra.abs().max() + 1e-6


# --- prediction of paths ------------------------------------------------------------------


def noise(*shape: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(sum(shape))
    return torch.randn(*shape, dtype=torch.complex64, generator=generator)


def test_delays_bring_in_silence() -> None:
    spectra = noise(2, 5, 6)
    now, _, before = delayed(spectra, 2)
    assert torch.equal(now, spectra)
    assert not before[..., :2].any()
    assert torch.equal(before[..., 2:], spectra[..., :-2])


@pytest.fixture(scope="module")
def reverberant() -> dict[str, torch.Tensor]:
    """Two sources that reach three microphones over three frames, 50 times as loud one as other."""
    sources = noise(1, 2, 5, 800) * torch.tensor([50.0, 1.0])[:, None, None]
    filters = noise(2, 3, 5, 3) * torch.tensor([1.0, 0.5, 0.25])[:, None, None]  # slot, tap, freq
    images = torch.stack(
        [
            sum(
                filters[n, k, None].transpose(1, 2)[..., None] * delayed(sources[:, n, None], 2)[k]
                for k in range(3)
            )
            for n in range(2)
        ],
        dim=1,
    )  # [batch, slot, mic, freq, frame]
    return {"sources": sources, "filters": filters, "images": images, "weights": noise(1, 2, 5, 3)}


def test_paths_are_those_that_the_estimates_took(reverberant: dict[str, torch.Tensor]) -> None:
    sources, filters = reverberant["sources"], reverberant["filters"]
    images, weights = reverberant["images"], reverberant["weights"]
    paths = predict_paths(images.sum(1), sources, weights[:, :, None])
    torch.testing.assert_close(paths.transfer[0, :, 0], filters[:, 0], atol=0.05, rtol=0.02)
    alone = torch.einsum("bnfm,bnmft->bnft", weights.conj(), images)
    direct = torch.einsum("bnfm,nfm->bnf", weights.conj(), filters[:, 0])
    torch.testing.assert_close(paths.beam[:, :, 0], direct, atol=0.2, rtol=0.02)
    for found, expected in ((paths.alone, alone), (paths.dry, direct[..., None] * sources)):
        error = (found - expected).abs().square().mean(-1) / expected.abs().square().mean(-1)
        assert float(error.median()) < 1e-3, error
    taps = torch.einsum("bnfm,nkfm->bnfk", weights.conj(), filters).abs().square()
    torch.testing.assert_close(
        paths.late[:, :, 0], taps[..., 1:].sum(-1) / taps.sum(-1), atol=0.03, rtol=0.02
    )


def test_paths_of_silence_are_silent(reverberant: dict[str, torch.Tensor]) -> None:
    sources = reverberant["sources"] * torch.tensor([1.0, 0.0])[:, None, None]
    weights = reverberant["weights"][:, :, None]
    paths = predict_paths(reverberant["images"][:, 0], sources, weights)
    assert all(torch.isfinite(torch.view_as_real(part)).all() for part in (paths.alone, paths.dry))
    assert paths.alone[:, 1].abs().max() < 0.1 * reverberant["images"][:, 0].abs().max()
    quiet = predict_paths(reverberant["images"][:, 0], sources * 1e-4, weights)
    assert 3.9 < quiet.beam[:, 0].abs().max() < 4.001, "what is next to nothing reaches no further"
    behind = (quiet.transfer * weights.conj()).sum(-1)
    torch.testing.assert_close(quiet.beam, behind, msg="both are scaled alike")
    nothing = predict_paths(sources[:, [1, 1, 1]], sources * 0, weights)
    assert not nothing.alone.any()
    assert torch.isfinite(nothing.late).all()


def test_what_is_too_loud_for_its_estimate_is_scaled_down_as_a_whole() -> None:
    spectra = noise(1, 3, 5, 6)
    estimates = spectra * torch.tensor([1.0, 0.6, 0.05])[:, None, None]
    bounded = no_louder(spectra, estimates)
    torch.testing.assert_close(bounded[:, :2], spectra[:, :2])
    torch.testing.assert_close(bounded[:, 2], 2 * estimates[:, 2])
    assert not no_louder(spectra, 0 * spectra).any()


def test_a_field_s_coherence_is_where_the_microphones_are() -> None:
    """Positions are on the CPU when a network on a GPU asks for its steering."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode():
        inverse = inverse_coherence(torch.zeros(4, 3), torch.zeros(5, device="cuda"))
    assert (inverse.shape, inverse.device.type) == ((5, 4, 4), "cpu")


def test_superdirective_beams_pass_their_direction_and_reject_a_diffuse_field(
    arrays: dict[str, MicrophoneArray],
) -> None:
    array = arrays["circle4"]
    frequencies = torch.from_numpy(STFT.frequencies(8000)).float()
    towards = steering(array, AZIMUTHS)
    positions = torch.tensor(array.positions, dtype=torch.float64)
    weights = superdirective_weights(towards, inverse_coherence(positions, frequencies))
    passed = (weights.conj() * towards).sum(-1)
    torch.testing.assert_close(passed, torch.ones_like(passed))
    sphere = noise(4000, 3).real.double().numpy()
    sphere /= np.linalg.norm(sphere, axis=1, keepdims=True)
    leads = sphere @ (array.as_array() - array.as_array()[0]).T / 343.0
    waves = np.exp(2j * np.pi * frequencies.numpy()[:, None, None] * leads)  # [freq, wave, mic]
    heard = np.einsum("nfm,fwm->nfw", weights[0].numpy().conj(), waves)
    gain = 10 * np.log10((np.abs(heard) ** 2).mean(-1))
    assert (gain[:, 30:] < -3.0).all(), "one microphone has 0 dB; from 900 Hz four are apart enough"
