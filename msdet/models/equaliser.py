# SPDX-License-Identifier: Apache-2.0
"""Complex weights for the whole utterance, read from its statistics by convolutions over frequency.

What early echoes do to a speaker is one filter from the first second to the last: at each
frequency mostly one complex gain. It cannot be read from a bin; it can from how an estimate arrives
at beams around its direction, and how it goes on over time.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from msdet.models.beamforming import DRY_SHARE, Paths, delayed
from msdet.models.frontends import log_frequency, power
from msdet.models.timeline import WHOLE, Timeline

RELATIVE_BEAMS = (-135.0, -90.0, -60.0, -30.0, 30.0, 60.0, 90.0, 135.0)
"""Degrees from a slot's own direction."""

_STATISTICS = 2 * len(RELATIVE_BEAMS) + 8
"""Numbers for each frequency: at beams around the direction and towards it, the late part, lags of
one and two frames, the level."""

_LARGEST = 4.0
"""A combiner's statistics of next to nothing are cut off here."""


class _OverFrequency(nn.Module):
    """Residual dilated convolutions over frequency: ``[batch, statistic, freq]`` to
    ``[batch, weight, freq]``, which start as they are told."""

    def __init__(
        self,
        statistics: int,
        frequencies: NDArray[np.float64],
        channels: int,
        blocks: int,
        start: tuple[float, ...],
    ) -> None:
        super().__init__()
        self.inlet = nn.Conv1d(statistics + 1, channels, 5, padding=2)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Conv1d(channels, channels, 5, padding=2 * 2**i, dilation=2**i, bias=False),
                nn.BatchNorm1d(channels),
                nn.ReLU(),
                nn.Conv1d(channels, channels, 1),
            )
            for i in range(blocks)
        )
        self.out = nn.Conv1d(channels, len(start), 1)
        nn.init.zeros_(self.out.weight)
        with torch.no_grad():
            assert self.out.bias is not None
            self.out.bias.copy_(torch.tensor(start))
        relative = torch.tensor(RELATIVE_BEAMS)
        self.register_buffer("relative_beams", relative, persistent=False)
        self.register_buffer("log_frequency", log_frequency(frequencies), persistent=False)

    log_frequency: Tensor
    relative_beams: Tensor

    def weights(self, statistics: Tensor) -> Tensor:
        """Return ``[..., weight, freq]`` from ``[..., statistic, freq]``."""
        x = statistics.flatten(0, -3)
        x = torch.cat([x, self.log_frequency.expand_as(x[:, :1])], dim=1)
        x = F.relu(self.inlet(x))
        for block in self.blocks:
            x = F.relu(x + block(x))
        found: Tensor = self.out(x).float()
        return found.reshape(*statistics.shape[:-2], *found.shape[1:])


class Equaliser(_OverFrequency):
    """One complex gain per slot and frequency for the whole utterance: the colour of early echoes.

    Beams in place of microphones are what its statistics are of, so that the array is free.
    """

    def __init__(self, frequencies: NDArray[np.float64], channels: int, blocks: int) -> None:
        super().__init__(_STATISTICS, frequencies, channels, blocks, (1.0, 0.0, 0.0, 0.0))

    def forward(
        self, estimates: Tensor, paths: Paths, around: Tensor, timeline: Timeline = WHOLE
    ) -> Tensor:
        """Return the estimates times their gains, complex ``[batch, slot, freq, frame]``.

        Args:
            estimates: complex ``[batch, slot, freq, frame]``. paths: of the estimates.
            around: weights of superdirective beams :data:`RELATIVE_BEAMS` from each slot's
                direction, complex ``[batch, slot, moment, beam, freq, mic]``.
            timeline: which frames the statistics of a moment are of.
        """
        with torch.no_grad():
            statistics = _statistics(estimates, paths, around, timeline)
        x = self.weights(statistics)  # [batch, slot, moment, 4, freq]
        gain = torch.complex(x[..., 0, :], x[..., 1, :])
        gain = gain + torch.complex(x[..., 2, :], x[..., 3, :]) * paths.beam
        return estimates * timeline.held(gain.transpose(-2, -1))


class Combiner(_OverFrequency):
    """The sum of two estimates of each speaker, whose errors are of different kinds, with a complex
    weight for each, per slot and frequency, for the whole utterance.

    It starts as the average that serves where nothing is known.
    """

    def __init__(self, frequencies: NDArray[np.float64], channels: int, blocks: int) -> None:
        start = (1.0 - DRY_SHARE, 0.0, DRY_SHARE, 0.0)
        super().__init__(2 * _STATISTICS + 3, frequencies, channels, blocks, start)

    def forward(
        self, estimates: Tensor, dry: Tensor, statistics: Tensor, timeline: Timeline = WHOLE
    ) -> Tensor:
        """Return the weighted sum, complex ``[batch, slot, freq, frame]``.

        Args:
            estimates, dry: complex ``[batch, slot, freq, frame]``.
            statistics: of both, from :func:`statistics_of_two`. timeline: theirs.
        """
        weights = self.complex_weights(statistics)
        of_estimates, of_dry = (
            timeline.held(weights[..., i, :].transpose(-2, -1)) for i in range(2)
        )
        return of_estimates * estimates + of_dry * dry

    def complex_weights(self, statistics: Tensor) -> Tensor:
        """Return the weights of both, complex ``[..., 2, freq]``, of ``[..., statistic, freq]``."""
        x = self.weights(statistics)
        return torch.complex(x[..., 0::2, :], x[..., 1::2, :])


@torch.no_grad()
def statistics_of_two(
    estimates: Tensor,
    paths: Paths,
    dry: Tensor,
    dry_paths: Paths,
    around: Tensor,
    timeline: Timeline = WHOLE,
) -> Tensor:
    """Return what a combiner's weights are read from, ``[batch, slot, moment, statistic, freq]``.

    Args:
        estimates, dry: complex ``[batch, slot, freq, frame]``.
        paths, dry_paths: of the estimates, and those that ``dry`` was made by.
        around: beams around each slot's direction, as of :meth:`Equaliser.forward`.
        timeline: which frames the statistics of a moment are of.
    """
    first, second, common = (
        timeline.mean(values).transpose(-2, -1)
        for values in (power(estimates), power(dry), dry * estimates.conj())
    )
    alike = common / ((first * second).sqrt() + 1e-6)
    ratio = ((second + 1e-6) / (first + 1e-6)).log() / 2
    between = torch.stack([alike.real, alike.imag, ratio], dim=-2)
    each = [
        _statistics(estimates, paths, around, timeline),
        _statistics(dry, dry_paths, around, timeline),
    ]
    return torch.cat([*each, between], dim=-2).clamp(-_LARGEST, _LARGEST)


def _statistics(estimates: Tensor, paths: Paths, around: Tensor, timeline: Timeline) -> Tensor:
    """Statistics of estimates, ``[batch, slot, moment, statistic, freq]``."""
    energy = timeline.mean(power(estimates)).transpose(-2, -1)  # [batch, slot, moment, freq]
    heard = (around.conj() * paths.transfer[:, :, :, None]).sum(-1)
    own = paths.beam[..., None, :]
    relative = heard * own.conj() / (power(own) + 1e-2)
    parts = [relative.real, relative.imag, own.real, own.imag, paths.late[..., None, :]]
    for before in delayed(estimates, 2, timeline)[1:]:
        product = timeline.mean(estimates * before.conj()).transpose(-2, -1)
        product = product / (energy + 1e-6)
        parts += [product.real[..., None, :], product.imag[..., None, :]]
    parts.append((energy + 1e-6).log()[..., None, :] / 4)
    return torch.cat(parts, dim=-2)
