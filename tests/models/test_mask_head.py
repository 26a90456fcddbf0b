# SPDX-License-Identifier: Apache-2.0
"""First estimates: masks on the reference microphone, and weights of beams beside it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from msdet.models.msdet import MSDET

Make = Callable[..., MSDET]
PLAIN = {"guidance": "none", "beamformer": "none"}


def without_masks(model: MSDET) -> MSDET:
    """A network that takes nothing of the reference microphone, and of the beams what is set."""
    with torch.no_grad():
        model.separation_head.out.weight.zero_()
        model.separation_head.out.bias.zero_()
        model.separation_head.out.bias[: model.num_slots] = -1.0 / model.num_slots
    return model.eval()


@pytest.mark.parametrize(("array", "beam", "azimuth"), [("circle4", 2, 90.0), ("line4", 7, 180.0)])
def test_a_beam_hears_its_direction_as_it_is(
    make_model: Make, array: str, beam: int, azimuth: float
) -> None:
    """A plane wave from where a fixed beam looks comes out as the reference microphone heard it."""
    model = without_masks(make_model(array, separation="beams", **PLAIN))
    slots, beams = model.num_slots, model.separation_head.beams
    with torch.no_grad():
        model.separation_head.bound = 1e3  # as good as none
        for slot in range(slots):
            model.separation_head.out.bias[slots + slot * beams + beam] = 1.0
    steering = model.steering(model.array)
    waves = model._plane_waves(torch.tensor([[azimuth]]), steering)[0, 0]  # [freq, mic]
    source = torch.randn(waves.shape[0], 20, dtype=torch.complex64)
    spectra = waves.T[None, :, :, None] * source
    found = model.estimate(spectra, steering).spectra
    torch.testing.assert_close(found[0, 0], source, rtol=1e-2, atol=1e-2)
    torch.testing.assert_close(found[0, 1], source, rtol=1e-2, atol=1e-2)


def test_weights_of_beams_start_small_beside_even_masks(make_model: Make) -> None:
    model = make_model(separation="beams", **PLAIN).eval()
    with torch.no_grad():
        model.separation_head.out.weight.zero_()
        model.separation_head.out.bias.zero_()
    mixture = torch.randn(1, 4, 2000)
    reference = model.stft(mixture)[:, 0]
    for slot in model(mixture).spectra[0]:
        torch.testing.assert_close(slot, reference[0] / model.num_slots)
