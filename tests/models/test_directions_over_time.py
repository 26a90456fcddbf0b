# SPDX-License-Identifier: Apache-2.0
"""Directions over time: the fine head reads spans with the weights that read the utterance."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from msdet.models.beamforming import superdirective_weights
from msdet.models.heads import FineDirectionHead
from msdet.models.msdet import MSDET
from msdet.models.timeline import Around

FREQS, CLASSES, PAIRS, CHANNELS, FRAMES = 9, 24, 3, 5, 12


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def head_and_inputs(empty_slots: bool) -> tuple[FineDirectionHead, tuple[torch.Tensor, ...]]:
    head = FineDirectionHead(FREQS, CLASSES, CHANNELS, 8, False, empty_slots).eval()
    mixture = torch.complex(noise(2, FREQS, FRAMES), noise(2, FREQS, FRAMES, seed=1))
    return head, (
        noise(2, FREQS, 2 * PAIRS, FRAMES),
        noise(FREQS, CLASSES, 2 * PAIRS),
        noise(2, 3, FREQS, FRAMES).abs(),
        mixture,
        noise(2, CHANNELS, FREQS, FRAMES),
    )


@pytest.mark.parametrize("empty_slots", [False, True])
def test_a_moment_reads_its_frames_alone(empty_slots: bool) -> None:
    head, (differences, steering, weight, mixture, full) = head_and_inputs(empty_slots)
    found = head(differences, steering, weight, mixture, full, Around(FRAMES, 3, 1))
    assert found.shape == (2, 3, 5, CLASSES + empty_slots)
    for moment, frames in enumerate((slice(0, 5), slice(0, 8), slice(2, 11), slice(5, 12))):
        parts = (x[..., frames] for x in (differences, weight, mixture, full))
        differences_, weight_, mixture_, full_ = parts
        alone = head(differences_, steering, weight_, mixture_, full_)[:, :, 0]
        torch.testing.assert_close(found[:, :, moment], alone, atol=1e-4, rtol=1e-4)


def test_a_network_reads_the_same_weights_with_and_without_a_span(
    make_model: Callable[..., MSDET],
) -> None:
    plain, over_time = make_model().eval(), make_model(span=0.5).eval()
    mixture = noise(1, plain.array.num_mics, plain.sample_rate)
    with torch.inference_mode():
        expected, found = plain(mixture), over_time(mixture)
    assert expected.track_logits is None
    assert torch.equal(found.azimuth_logits, expected.azimuth_logits)
    assert torch.equal(found.audio, expected.audio)
    located = over_time.locate(found)
    assert located is not None
    assert located.track is not None
    assert over_time.track_seconds == pytest.approx(0.096)  # 12 of 125 frames a second
    moments = (found.spectra.shape[-1] + 6 - 1) // 12 + 1  # the first stands for 6 frames
    assert located.track.shape == (1, plain.num_slots, moments)
    assert bool(((located.track >= 0) & (located.track < 360)).all())


@pytest.mark.parametrize("beamformer", ["mask", "steered", "convolutive"])
def test_filters_of_a_span_that_holds_the_utterance_are_the_utterance_s(
    beamformer: str, make_model: Callable[..., MSDET]
) -> None:
    parts = {"beamformer": beamformer, "dereverberations": 2, "combiner_blocks": 1}
    whole = make_model(span=8.0, **parts).eval()
    spans = make_model(span=8.0, filter_span=8.0, **parts).eval()
    mixture = noise(1, whole.array.num_mics, whole.sample_rate)
    with torch.inference_mode():
        expected, found = whole(mixture), spans(mixture)
    torch.testing.assert_close(found.audio, expected.audio, atol=2e-4, rtol=1e-3)
    torch.testing.assert_close(found.track_logits, expected.track_logits, atol=1e-2, rtol=1e-2)


def test_beams_follow_a_speaker_who_is_elsewhere_in_the_second_half(
    make_model: Callable[..., MSDET],
) -> None:
    model, frames = make_model().eval(), 250
    steering = model.steering(model.array)
    waves = model._plane_waves(torch.tensor([40.0, 130.0]), steering)  # [place, freq, mic]
    voice = torch.complex(noise(65, frames), noise(65, frames, seed=1))
    place = (torch.arange(frames) >= frames // 2).long()
    spectra = waves[place].permute(1, 2, 0) * voice[:, None]  # [freq, mic, frame]
    timeline = Around(frames, 10, 2)
    moment = (torch.arange(timeline.blocks) >= timeline.blocks // 2).long()
    weights = superdirective_weights(waves, steering.diffuse).conj()
    followed = timeline.apply(weights[moment][None, None], spectra[None])[0, 0]
    fixed = timeline.apply(weights[None, None, :1], spectra[None])[0, 0]
    torch.testing.assert_close(followed, voice, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(fixed[:, :125], voice[:, :125], atol=1e-4, rtol=1e-4)
    lost = (fixed - voice)[20:, 125:].abs().square().mean()
    assert lost > 0.2 * voice.abs().square().mean()
