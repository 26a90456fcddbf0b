# SPDX-License-Identifier: Apache-2.0
"""A convolutional U-Net over frequency, with dilated time and global context at its bottom.

Layers were chosen by what they cost on a CPU: full 3x3 convolutions in channels-last order at a
quarter of the frequency resolution; depthwise and pointwise layers at full resolution cost as
much memory traffic for a fraction of the arithmetic, and recurrent layers cost thirty times more.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from msdet.models.config import UNetConfig
from msdet.models.encoders.protocol import Encoding
from msdet.models.timeline import WHOLE, Convolution, Timeline


def normalisation(channels: int) -> nn.Module:
    """Batch normalisation: fused into its neighbours at inference, no state across frames."""
    return nn.BatchNorm2d(channels)


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions, the first dilated in time, and a gate that is read from all frames, or
    of a causal network from those so far."""

    def __init__(self, channels: int, dilation: int, causal: bool = False) -> None:
        super().__init__()
        self.first = Convolution(channels, channels, dilation=dilation, bias=False, causal=causal)
        self.first_norm = normalisation(channels)
        self.second = Convolution(channels, channels, bias=False, causal=causal)
        self.second_norm = normalisation(channels)
        self.context = nn.Linear(channels, channels)

    def forward(self, x: Tensor, timeline: Timeline = WHOLE) -> Tensor:
        """``[batch, channel, freq, frame]``, shape kept."""
        y = F.relu(self.first_norm(self.first(x, timeline)), inplace=True)
        y = self.second_norm(self.second(y, timeline))
        gate = self.context(timeline.mean(y.mean(dim=2)).transpose(1, 2)).transpose(1, 2)
        gate = timeline.held(torch.sigmoid(gate))[:, :, None]
        return F.relu(x + y * gate, inplace=True)


class ReducedContext(nn.Module):
    """Residual blocks at a quarter of the frequencies, dilated in time 1, 2, 4, ... frames, whose
    output is added at full resolution."""

    def __init__(self, outer: int, channels: int, blocks: int, causal: bool = False) -> None:
        super().__init__()
        self.down = Convolution(outer, channels, (5, 3), stride=4, bias=False, causal=causal)
        self.down_norm = normalisation(channels)
        self.blocks = nn.ModuleList(ResidualBlock(channels, 2**i, causal) for i in range(blocks))
        self.up = nn.ConvTranspose2d(channels, outer, (4, 1), (4, 1))

    def forward(self, x: Tensor, timeline: Timeline = WHOLE) -> Tensor:
        """``[batch, outer, freq, frame]``, shape kept."""
        y = F.relu(self.down_norm(self.down(x, timeline)), inplace=True)
        for block in self.blocks:
            y = block(y, timeline)
        return F.relu(x + self.up(y)[:, :, : x.shape[2]], inplace=True)


class UNet(nn.Module):
    """Frequency is reduced by 4, then by 2 a level, and restored with skips; time is kept.

    Args:
        causal: it sees no later frames.
    """

    def __init__(self, config: UNetConfig, in_channels: int, causal: bool = False) -> None:
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
                    Convolution(previous, channels, (stride + 1, 3), stride=stride, causal=causal),
                    normalisation(channels),
                )
            )
            dilations = config.dilations if lowest else (1,)
            self.levels.append(
                nn.ModuleList(
                    ResidualBlock(channels, dilations[i % len(dilations)], causal)
                    for i in range(blocks)
                )
            )
            self.up.append(nn.ConvTranspose2d(channels, upper, (stride, 1), (stride, 1)))
            previous, upper = channels, channels
        self.full_norm = normalisation(config.full_channels)

    def forward(self, features: Tensor, timeline: Timeline = WHOLE) -> Encoding:
        """``[batch, in_channels, freq, frame]`` to an :class:`Encoding`."""
        features = features.contiguous(memory_format=torch.channels_last)
        skips = [self.skip(features)]
        x = features
        for down, level in zip(self.down, self.levels, strict=True):
            convolution, norm = down.children()
            x = F.relu(norm(convolution(x, timeline)), inplace=True)
            for block in level.children():
                x = block(x, timeline)
            skips.append(x)
        bottom = skips.pop()
        for up in reversed(self.up):
            upper = skips.pop()
            x = upper + up(x)[:, :, : upper.shape[2]]
            x = F.relu(x if skips else self.full_norm(x), inplace=True)
        return Encoding(full=x, bottom=bottom)
