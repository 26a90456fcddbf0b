# SPDX-License-Identifier: Apache-2.0
"""A causal network sees no later frames, and hears pieces as it hears the whole."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields

import pytest
import torch

from msdet.models.msdet import MSDET, Estimates
from msdet.models.timeline import Memory

Make = Callable[..., MSDET]
FRAMES = 60
KINDS = {
    "masks": {"beamformer": "none"},
    "mask": {"beamformer": "mask", "refinement_blocks": 1},
    "steered": {"beamformer": "steered", "dereverberations": 2, "combiner_blocks": 1},
    "convolutive": {"beamformer": "convolutive", "refinements": 2, "refinement_blocks": 1},
    "spectra": {"frontend": "ri", "separation": "beams", "empty_slots": True},
    "two encoders": {"sharing": "none", "guidance": "none"},
}


@pytest.fixture(params=KINDS)
def model(request: pytest.FixtureRequest, make_model: Make) -> MSDET:
    parts = {"span": 0.2, "filter_span": 0.4, "causal": True}
    return make_model(**parts, **KINDS[request.param]).eval()


@pytest.fixture
def spectra(model: MSDET) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    shape = (2, model.array.num_mics, model.stft.num_freqs, FRAMES)
    return torch.randn(shape, dtype=torch.complex64, generator=generator)


@torch.inference_mode()
def heard(model: MSDET, spectra: torch.Tensor, memory: Memory | None = None) -> Estimates:
    return model.estimate(spectra, model.steering(model.array), memory=memory)


def over_time(estimates: Estimates) -> list[torch.Tensor]:
    """Estimates with time as the last dimension."""
    logits = (estimates.track_logits, estimates.coarse_logits)
    return [*estimates.stages, *(x.movedim(2, -1) for x in logits if x is not None)]


def difference(found: torch.Tensor, expected: torch.Tensor) -> float:
    """RMS of the difference, relative to the RMS of what is expected."""
    return float((found - expected).abs().square().mean() / expected.abs().square().mean()) ** 0.5


def test_pieces_are_heard_as_the_whole(model: MSDET, spectra: torch.Tensor) -> None:
    expected = over_time(heard(model, spectra))
    for size in (model.track_stride, 3 * model.track_stride):
        memory = Memory()
        pieces = [over_time(heard(model, x, memory)) for x in spectra.split(size, dim=-1)]
        for whole, *parts in zip(expected, *pieces, strict=True):
            assert difference(torch.cat(parts, dim=-1), whole) < 3e-4  # white noise: hard to solve


def test_what_comes_later_changes_nothing(model: MSDET, spectra: torch.Tensor) -> None:
    stride = model.track_stride
    seen = FRAMES // 2 // stride * stride
    changed = spectra.clone()
    changed[..., seen:] = 10 * spectra[..., seen:].flip(-1)
    for one, other in zip(
        over_time(heard(model, spectra)), over_time(heard(model, changed)), strict=True
    ):
        kept = seen if one.shape[-1] == FRAMES else seen // stride
        assert torch.equal(one[..., :kept], other[..., :kept])
        assert not torch.equal(one[..., kept:], other[..., kept:])


def test_what_is_kept_does_not_grow(model: MSDET, spectra: torch.Tensor) -> None:
    memory, sizes = Memory(), []
    for piece in spectra.split(model.track_stride, dim=-1):
        heard(model, piece, memory)
        sizes.append([tuple(value.shape) for value in memory.values])
    assert all(size == sizes[0] for size in sizes)


def test_loudness_is_no_matter(model: MSDET, spectra: torch.Tensor) -> None:
    soft, loud = heard(model, 0.01 * spectra), heard(model, 100 * spectra)
    assert difference(1e4 * soft.spectra, loud.spectra) < 1e-3


def test_silence_is_survived(model: MSDET, spectra: torch.Tensor) -> None:
    quiet = spectra.clone()
    quiet[..., :20] = 0.0
    for silent in (quiet, 0 * spectra):
        found = heard(model, silent)
        assert all(torch.isfinite(torch.view_as_real(stage)).all() for stage in found.stages)


def test_every_weight_is_trained(make_model: Make) -> None:
    parts = {"beamformer": "convolutive", "refinement_blocks": 1, "combiner_blocks": 1}
    model = make_model(span=0.2, filter_span=0.4, causal=True, dereverberations=1, **parts)
    mixture = torch.randn(2, model.array.num_mics, 4000, generator=torch.Generator().manual_seed(0))
    found = model(mixture)
    assert found.track_logits is not None
    assert found.coarse_logits is not None
    loss = found.audio.square().mean() + found.track_logits.square().mean()
    loss = loss + sum(stage.abs().square().mean() for stage in found.stages)
    (loss + found.coarse_logits.square().mean()).backward()
    unused = [name for name, p in model.named_parameters() if p.grad is None]
    assert not unused
    assert [f.name for f in fields(found)]
