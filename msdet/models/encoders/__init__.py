# SPDX-License-Identifier: Apache-2.0
"""Encoders: the shared trunk. Ours is a U-Net; any other is named by its class."""

from __future__ import annotations

from typing import Any

from msdet.models.config import UNetConfig
from msdet.models.encoders.protocol import Encoder, Encoding
from msdet.models.encoders.unet import UNet
from msdet.parts import OwnPart, build_module


def make_encoder(
    config: UNetConfig | OwnPart, in_channels: int, num_freqs: int, causal: bool = False
) -> Any:
    """Return the encoder that a config names, an :class:`Encoder`.

    Args:
        causal: it sees no later frames; ours alone does.
    Raises:
        InputError: its class cannot be made, or lacks what an encoder must have.
    """
    if isinstance(config, UNetConfig):
        return UNet(config, in_channels, causal)
    return build_module(
        config,
        "model.encoder",
        ("full_channels", "bottom_channels"),
        in_channels=in_channels,
        num_freqs=num_freqs,
    )


__all__ = ["Encoder", "Encoding", "UNet", "make_encoder"]
