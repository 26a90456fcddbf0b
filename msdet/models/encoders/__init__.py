# SPDX-License-Identifier: Apache-2.0
"""Encoders: the shared trunk. Each is a config and the module that it builds."""

from msdet.models.encoders.unet import (
    MOST_BLOCKS,
    MOST_CHANNELS,
    Encoding,
    UNet,
    UNetConfig,
)

EncoderConfig = UNetConfig

__all__ = ["MOST_BLOCKS", "MOST_CHANNELS", "EncoderConfig", "Encoding", "UNet", "UNetConfig"]
