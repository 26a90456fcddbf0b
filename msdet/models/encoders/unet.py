# SPDX-License-Identifier: Apache-2.0
"""A convolutional U-Net over frequency, with dilated time and global context at its bottom.

Layers were chosen by what they cost on a CPU: full 3x3 convolutions in channels-last order at a
quarter of the frequency resolution; depthwise and pointwise layers at full resolution cost as
much memory traffic for a fraction of the arithmetic, and recurrent layers cost thirty times more.
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from msdet.models.encoders.protocol import Encoding
from msdet.parsing import Config

MOST_CHANNELS = 2**12
"""In any layer; a 3x3 convolution of so many has 150 M weights."""

MOST_BLOCKS = 64
"""In a level; the deepest networks of the field have about as many layers in all."""

_MOST_LEVELS = 12
"""Each halves the frequencies, and the longest window has fewer than 2**14."""

_LONGEST_DILATION = 2**12
"""Frames; longer than any crop."""

_Channels = Annotated[int, Field(ge=1, le=MOST_CHANNELS)]
_Blocks = Annotated[int, Field(ge=1, le=MOST_BLOCKS)]
_Dilation = Annotated[int, Field(ge=1, le=_LONGEST_DILATION)]


class UNetConfig(Config):
    """Sizes of the U-Net.

    Attributes:
        full_channels: channels at full frequency resolution (what the mask is made from).
        channels: channels of the lower levels: a quarter of the frequencies, then half of that, ...
        blocks: residual blocks of each level; those of the lowest carry the time dilations.
        dilations: in time, of the lowest level's blocks, cycled.
    """

    name: Literal["unet"] = "unet"
    full_channels: int = Field(default=16, ge=4, le=MOST_CHANNELS)
    channels: tuple[_Channels, ...] = Field((48, 64), min_length=1, max_length=_MOST_LEVELS)
    blocks: tuple[_Blocks, ...] = Field((1, 4), min_length=1, max_length=_MOST_LEVELS)
    dilations: tuple[_Dilation, ...] = Field((1, 2, 4, 8), min_length=1, max_length=MOST_BLOCKS)

    @model_validator(mode="after")
    def _a_number_of_blocks_per_level(self) -> UNetConfig:
        if len(self.blocks) != len(self.channels):
            raise ValueError(
                f"blocks={list(self.blocks)} must have one number for each level of "
                f"channels={list(self.channels)}"
            )
        return self


def normalisation(channels: int) -> nn.Module:
    """Batch normalisation: fused into its neighbours at inference, no state across frames."""
    return nn.BatchNorm2d(channels)


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions, the first dilated in time, and a global context gate."""

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(
            channels, channels, 3, padding=(1, dilation), dilation=(1, dilation), bias=False
        )
        self.first_norm = normalisation(channels)
        self.second = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.second_norm = normalisation(channels)
        self.context = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """``[batch, channel, freq, frame]``, shape kept."""
        y = F.relu(self.first_norm(self.first(x)), inplace=True)
        y = self.second_norm(self.second(y))
        gate = self.context(y.mean(dim=(2, 3)))[:, :, None, None]
        return F.relu(x + y * torch.sigmoid(gate), inplace=True)


class ReducedContext(nn.Module):
    """Residual blocks at a quarter of the frequencies, dilated in time 1, 2, 4, ... frames, whose
    output is added at full resolution."""

    def __init__(self, outer: int, channels: int, blocks: int) -> None:
        super().__init__()
        self.down = nn.Conv2d(outer, channels, (5, 3), (4, 1), (2, 1), bias=False)
        self.down_norm = normalisation(channels)
        self.blocks = nn.Sequential(*(ResidualBlock(channels, 2**i) for i in range(blocks)))
        self.up = nn.ConvTranspose2d(channels, outer, (4, 1), (4, 1))

    def forward(self, x: Tensor) -> Tensor:
        """``[batch, outer, freq, frame]``, shape kept."""
        y = self.up(self.blocks(F.relu(self.down_norm(self.down(x)), inplace=True)))
        return F.relu(x + y[:, :, : x.shape[2]], inplace=True)


class UNet(nn.Module):
    """Frequency is reduced by 4, then by 2 a level, and restored with skips; time is kept."""

    def __init__(self, config: UNetConfig, in_channels: int) -> None:
        super().__init__()
        self.full_channels, self.bottom_channels = config.full_channels, config.channels[-1]
        self.skip = nn.Conv2d(in_channels, config.full_channels, 1)
        self.down = nn.ModuleList()
        self.levels = nn.ModuleList()
        self.up = nn.ModuleList()
        self.strides: list[int] = []
        previous, upper = in_channels, config.full_channels
        for level, (channels, blocks) in enumerate(
            zip(config.channels, config.blocks, strict=True)
        ):
            stride = 4 if level == 0 else 2
            self.strides.append(stride)
            lowest = level == len(config.channels) - 1
            self.down.append(
                nn.Sequential(
                    nn.Conv2d(previous, channels, (stride + 1, 3), (stride, 1), (stride // 2, 1)),
                    normalisation(channels),
                    nn.ReLU(inplace=True),
                )
            )
            dilations = config.dilations if lowest else (1,)
            self.levels.append(
                nn.Sequential(
                    *(ResidualBlock(channels, dilations[i % len(dilations)]) for i in range(blocks))
                )
            )
            self.up.append(nn.ConvTranspose2d(channels, upper, (stride, 1), (stride, 1)))
            previous, upper = channels, channels
        self.full_norm = normalisation(config.full_channels)

    def forward(self, features: Tensor) -> Encoding:
        """``[batch, in_channels, freq, frame]`` to an :class:`Encoding`."""
        features = features.contiguous(memory_format=torch.channels_last)
        skips = [self.skip(features)]
        x = features
        for down, blocks in zip(self.down, self.levels, strict=True):
            x = blocks(down(x))
            skips.append(x)
        bottom = skips.pop()
        for up in reversed(self.up):
            upper = skips.pop()
            x = upper + up(x)[:, :, : upper.shape[2]]
            x = F.relu(x if skips else self.full_norm(x), inplace=True)
        return Encoding(full=x, bottom=bottom)
