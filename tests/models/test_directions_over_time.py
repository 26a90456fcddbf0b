# SPDX-License-Identifier: Apache-2.0
"""Directions over time: the fine head reads spans with the weights that read the utterance."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from msdet.models.heads import FineDirectionHead
from msdet.models.msdet import MSDET

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
def test_a_span_that_holds_the_utterance_reads_what_the_utterance_reads(empty_slots: bool) -> None:
    head, inputs = head_and_inputs(empty_slots)
    whole = head(*inputs)
    found = head.over_time(*inputs, 2 * FRAMES + 1)
    assert found.shape == (2, 3, FRAMES, CLASSES + empty_slots)
    for frame in range(FRAMES):
        torch.testing.assert_close(found[:, :, frame], whole, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("empty_slots", [False, True])
def test_a_frame_reads_its_span_alone(empty_slots: bool) -> None:
    head, (differences, steering, weight, mixture, full) = head_and_inputs(empty_slots)
    found = head.over_time(differences, steering, weight, mixture, full, 5)
    for frame in (2, 6, 9):
        span = slice(frame - 2, frame + 3)
        parts = (x[..., span] for x in (differences, weight, mixture, full))
        differences_, weight_, mixture_, full_ = parts
        alone = head(differences_, steering, weight_, mixture_, full_)
        torch.testing.assert_close(found[:, :, frame], alone, atol=1e-4, rtol=1e-4)


def test_moments_are_every_so_many_frames() -> None:
    head, inputs = head_and_inputs(False)
    every = head.over_time(*inputs, 5)
    torch.testing.assert_close(head.over_time(*inputs, 5, 3), every[:, :, ::3])


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
    stride = over_time.track_stride
    assert over_time.track_seconds == pytest.approx(0.096)  # 12 of 125 frames a second
    moments = (found.spectra.shape[-1] - 1) // stride + 1
    assert located.track.shape == (1, plain.num_slots, moments)
    assert bool(((located.track >= 0) & (located.track < 360)).all())


@pytest.mark.parametrize(("seconds", "frames"), [(0.001, 1), (0.1, 13), (0.5, 63)])
def test_a_span_is_an_odd_number_of_frames(
    seconds: float, frames: int, make_model: Callable[..., MSDET]
) -> None:
    model = make_model(span=seconds)
    assert model.sample_rate / model.config.stft.hop == pytest.approx(125)
    assert model.span == frames
