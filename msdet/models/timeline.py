# SPDX-License-Identifier: Apache-2.0
"""How a network looks along time: which frames it averages over, and which convolutions see.

A network for people who stand still reads one direction, and steers one beam, from all frames of
an utterance (:class:`Whole`). For people who walk it does so moment by moment, from the frames
around each (:class:`Around`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F


class Timeline(Protocol):
    """Means over frames, each of which stands for a moment, and what is made with them."""

    def mean(self, values: Tensor) -> Tensor:
        """Return the means of ``[..., frame]``, ``[..., moment]``."""
        ...

    def product(self, left: Tensor, right: Tensor) -> Tensor:
        """Return the mean outer products of two sets of signals, the right ones conjugate.

        Args:
            left: ``[..., freq, i, frame]``. right: ``[..., freq, j, frame]``.
        Returns:
            ``[..., moment, freq, i, j]``.
        """
        ...

    def apply(self, weights: Tensor, signals: Tensor) -> Tensor:
        """Return weighted sums of signals, ``[batch, slot, freq, frame]``.

        Args:
            weights: of each moment ``[batch, slot, moment, freq, i]``; freq and moment may be 1.
            signals: ``[batch, freq, i, frame]``.
        """
        ...

    def held(self, values: Tensor) -> Tensor:
        """Return values ``[..., moment]`` at the frames of each moment, ``[..., frame]`` or, of
        one moment, ``[..., 1]``."""
        ...


class Whole:
    """One moment: the utterance."""

    def mean(self, values: Tensor) -> Tensor:
        return values.mean(dim=-1, keepdim=True)

    def product(self, left: Tensor, right: Tensor) -> Tensor:
        return (left @ right.mH / left.shape[-1])[..., None, :, :, :]

    def apply(self, weights: Tensor, signals: Tensor) -> Tensor:
        return torch.einsum("bnfi,bfit->bnft", weights[:, :, 0], signals)

    def held(self, values: Tensor) -> Tensor:
        return values


WHOLE = Whole()


class Around:
    """Blocks of frames, a moment each, in the middle of the block.

    Args:
        frames: of the utterance. stride: frames of a block; the first has half of them.
        reach: so many blocks before and after its own a moment's means reach.
    """

    def __init__(self, frames: int, stride: int, reach: int) -> None:
        self.frames, self.stride, self.reach = frames, stride, reach
        self.lead = stride // 2
        self.blocks = -(-(self.lead + frames) // stride)

    def mean(self, values: Tensor) -> Tensor:
        shares = self._shares(values.device)
        return linear(lambda x: self._blocks(x).sum(dim=-1) @ shares.T, values)

    def product(self, left: Tensor, right: Tensor) -> Tensor:
        """Of each block first: a mean over blocks costs little beside a product of frames."""
        ours, others = (
            linear(lambda x: self._blocks(x).transpose(-3, -2), each) for each in (left, right)
        )
        products = (ours @ others.mH).transpose(-4, -3)  # [..., block, freq, i, j]
        shares, shape = self._shares(products.device), products.shape[-3:]
        return linear(lambda x: (shares @ x.flatten(-3)).reshape(x.shape[:-3] + shape), products)

    def apply(self, weights: Tensor, signals: Tensor) -> Tensor:
        blocks = linear(self._blocks, signals)
        found = torch.einsum("bnkfi,bfiks->bnfks", weights, blocks)
        return linear(lambda x: self._frames(x.flatten(-2)), found)

    def held(self, values: Tensor) -> Tensor:
        if values.shape[-1] == 1:
            return values
        return linear(lambda x: self._frames(x.repeat_interleave(self.stride, dim=-1)), values)

    def _blocks(self, values: Tensor) -> Tensor:
        """From ``[..., frame]`` to ``[..., block, frame of it]``, zeros before and after."""
        after = self.blocks * self.stride - self.lead - self.frames
        padded = F.pad(values, (self.lead, after))
        return padded.reshape(*values.shape[:-1], self.blocks, self.stride)

    def _frames(self, values: Tensor) -> Tensor:
        return values[..., self.lead : self.lead + self.frames]

    def _shares(self, device: torch.device) -> Tensor:
        """What a sum over the frames of each block counts for in a mean ``[moment, block]``."""
        number = torch.arange(self.blocks, device=device)
        within = (number[:, None] - number).abs() <= self.reach
        edges = (torch.arange(self.blocks + 1, device=device) * self.stride - self.lead).clamp(
            0, self.frames
        )
        shares: Tensor = within / (within * edges.diff()).sum(dim=1, keepdim=True)
        return shares


def linear(function: Callable[[Tensor], Tensor], values: Tensor) -> Tensor:
    """Return a linear function of real or complex values, of the latter's parts."""
    if values.is_complex():
        return torch.complex(function(values.real), function(values.imag))
    return function(values)
