# SPDX-License-Identifier: Apache-2.0
"""Encoders: the shared trunk. Each is a config and the module that it builds."""

from msdet.models.encoders.unet import Encoding, UNet, UNetConfig

EncoderConfig = UNetConfig

__all__ = ["EncoderConfig", "Encoding", "UNet", "UNetConfig"]
