# SPDX-License-Identifier: Apache-2.0
"""Encoders: the shared trunk. Ours is a U-Net; any other is named by its class."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Discriminator, Tag

from msdet.models.encoders.protocol import Encoder, Encoding
from msdet.models.encoders.unet import MOST_BLOCKS, MOST_CHANNELS, UNet, UNetConfig
from msdet.parts import Own, OwnPart, build_module, part_tag

EncoderConfig = Annotated[Annotated[UNetConfig, Tag("unet")] | Own, Discriminator(part_tag)]


def make_encoder(config: UNetConfig | OwnPart, in_channels: int, num_freqs: int) -> Any:
    """Return the encoder that a config names, an :class:`Encoder`.

    Raises:
        InputError: its class cannot be made, or lacks what an encoder must have.
    """
    if isinstance(config, UNetConfig):
        return UNet(config, in_channels)
    return build_module(
        config,
        "model.encoder",
        ("full_channels", "bottom_channels"),
        in_channels=in_channels,
        num_freqs=num_freqs,
    )


__all__ = [
    "MOST_BLOCKS",
    "MOST_CHANNELS",
    "Encoder",
    "EncoderConfig",
    "Encoding",
    "UNet",
    "UNetConfig",
    "make_encoder",
]
