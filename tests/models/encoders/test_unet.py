# SPDX-License-Identifier: Apache-2.0
"""The U-Net keeps time and frequency, whatever their number."""

from __future__ import annotations

import pytest
import torch

from msdet.models.config import UNetConfig
from msdet.models.encoders import UNet


@pytest.mark.parametrize("freqs", [17, 64, 65, 129])
@pytest.mark.parametrize("channels", [(4,), (4, 6), (4, 6, 8)])
def test_every_bin_and_frame_comes_out(freqs: int, channels: tuple[int, ...]) -> None:
    config = UNetConfig(
        name="unet",
        full_channels=5,
        channels=channels,
        blocks=(1,) * len(channels),
        dilations=(1, 4),
    )
    encoding = UNet(config, 3).eval()(torch.randn(2, 3, freqs, 7))
    assert encoding.full.shape == (2, 5, freqs, 7)
    assert encoding.bottom.shape[:2] == (2, channels[-1])
    assert encoding.bottom.shape[3] == 7
    assert encoding.bottom.shape[2] < freqs


def test_every_input_bin_matters_to_the_output_beside_it() -> None:
    config = UNetConfig(name="unet", full_channels=4, channels=(4,), blocks=(1,), dilations=(1,))
    torch.manual_seed(0)
    network = UNet(config, 2).eval()
    features = torch.randn(1, 2, 33, 5, requires_grad=True)
    network(features).full[0, :, 16, 2].sum().backward()
    assert features.grad is not None
    assert features.grad[0, :, 16, 2].abs().min() > 0
