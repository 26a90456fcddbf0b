# SPDX-License-Identifier: Apache-2.0
"""How a network looks along time: which frames it averages over, and which convolutions see.

A network for people who stand still reads one direction, and steers one beam, from all frames of
an utterance (:class:`Whole`). For people who walk it does so moment by moment, from the frames
around each (:class:`Around`). A causal network does so from the frames up to each (:class:`Past`),
and can be fed piece by piece: what it needs of earlier pieces is in a :class:`Memory`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Timeline(Protocol):
    """Means over frames, each of which stands for a moment, and what is made with them."""

    def mean(self, values: Tensor) -> Tensor:
        """Return the means of ``[..., frame]``, ``[..., moment]``."""
        ...

    def peak(self, values: Tensor) -> Tensor:
        """Return the maxima of ``[..., frame]``, none negative, ``[..., moment]``."""
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

    def before(self, values: Tensor, frames: int) -> Tensor:
        """Return ``[..., frame]`` with so many frames before them, of silence at the start."""
        ...


class Whole:
    """One moment: the utterance."""

    def mean(self, values: Tensor) -> Tensor:
        return values.mean(dim=-1, keepdim=True)

    def peak(self, values: Tensor) -> Tensor:
        return values.amax(dim=-1, keepdim=True)

    def product(self, left: Tensor, right: Tensor) -> Tensor:
        return (left @ right.mH / left.shape[-1])[..., None, :, :, :]

    def apply(self, weights: Tensor, signals: Tensor) -> Tensor:
        return torch.einsum("bnfi,bfit->bnft", weights[:, :, 0], signals)

    def held(self, values: Tensor) -> Tensor:
        return values

    def before(self, values: Tensor, frames: int) -> Tensor:
        return linear(lambda x: F.pad(x, (frames, 0)), values)


WHOLE = Whole()


class _Blocks:
    """Blocks of frames, a moment each.

    Args:
        frames: of the utterance. stride: frames of a block, of which the first lacks ``lead``.
    """

    def __init__(self, frames: int, stride: int, lead: int = 0) -> None:
        self.frames, self.stride, self.lead = frames, stride, lead
        self.blocks = (lead + frames - 1) // stride + 1

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

    def _products(self, left: Tensor, right: Tensor) -> Tensor:
        """Outer products, summed over each block ``[..., block, freq, i, j]``: a mean over blocks
        costs little beside a product of frames."""
        ours, others = (
            linear(lambda x: self._blocks(x).transpose(-3, -2), each) for each in (left, right)
        )
        return (ours @ others.mH).transpose(-4, -3)

    def _counts(self, device: torch.device) -> Tensor:
        """Frames of each block."""
        edges = torch.arange(self.blocks + 1, device=device) * self.stride - self.lead
        return edges.clamp(0, self.frames).diff().float()


class Around(_Blocks):
    """Blocks of frames, a moment each, in the middle of the block; the first has half as many.

    Args:
        frames: of the utterance. stride: frames of a block.
        reach: so many blocks before and after its own a moment's means reach.
    """

    def __init__(self, frames: int, stride: int, reach: int) -> None:
        super().__init__(frames, stride, stride // 2)
        self.reach = reach

    def mean(self, values: Tensor) -> Tensor:
        shares = self._shares(values.device)
        return linear(lambda x: self._blocks(x).sum(dim=-1) @ shares.T, values)

    def peak(self, values: Tensor) -> Tensor:
        peaks = self._blocks(values).amax(dim=-1)
        size = 2 * self.reach + 1
        found = F.max_pool1d(peaks.flatten(0, -2), size, stride=1, padding=self.reach)
        return found.reshape(peaks.shape)

    def product(self, left: Tensor, right: Tensor) -> Tensor:
        products, shares = self._products(left, right), self._shares(left.device)
        return linear(lambda x: (x.movedim(-4, -1) @ shares.T).movedim(-1, -4), products)

    def before(self, values: Tensor, frames: int) -> Tensor:
        return WHOLE.before(values, frames)

    def _shares(self, device: torch.device) -> Tensor:
        """Return the weight of the sum over each block in a mean ``[moment, block]``."""
        number, counts = torch.arange(self.blocks, device=device), self._counts(device)
        within = (number[:, None] - number).abs() <= self.reach
        shares: Tensor = within / (within * counts).sum(dim=1, keepdim=True)
        return shares


class Memory:
    """The past of a causal network: what it keeps of earlier frames, in the order in which it asks.

    Attributes:
        values: one tensor for each time that something is kept; empty before the first frames.
    """

    def __init__(self) -> None:
        self.values: list[Tensor] = []
        self._next = 0

    def rewind(self) -> None:
        """Begin with the next frames."""
        self._next = 0

    def exchange(self, start: Callable[[], Tensor], change: Callable[[Tensor], Any]) -> Any:
        """Return what ``change`` makes of what was kept last time (at first of ``start``): a pair
        of something to return and of what is to be kept."""
        known = self._next < len(self.values)
        found, kept = change(self.values[self._next] if known else start())
        if known:
            self.values[self._next] = kept
        else:
            self.values.append(kept)
        self._next += 1
        return found


class Past(_Blocks):
    """Blocks of frames, a moment each, at the end of the block: its means are over the frames up to
    there, the older ones counting less.

    Args:
        frames: of this piece of the utterance; of all pieces but the last, whole blocks.
        stride: frames of a block.
        decay: what frames a block earlier count for, relative to those of now.
        memory: of the pieces before this one; None: there are none, nor any after.
    """

    def __init__(self, frames: int, stride: int, decay: float, memory: Memory | None) -> None:
        super().__init__(frames, stride)
        self.decay, self.memory = decay, Memory() if memory is None else memory
        self._heard: Tensor | None = None

    def mean(self, values: Tensor) -> Tensor:
        return self._mean(linear(lambda x: self._blocks(x).sum(dim=-1), values))

    def peak(self, values: Tensor) -> Tensor:
        peaks = self._blocks(values).amax(dim=-1)
        ages = torch.arange(self.blocks, device=values.device, dtype=torch.float64)
        growth = self.decay**-ages

        def change(kept: Tensor) -> tuple[Tensor, Tensor]:
            among = torch.cat([kept[..., None] * self.decay, peaks], dim=-1)
            highest = (among[..., 1:] * growth).cummax(dim=-1).values
            first = torch.maximum(highest, among[..., :1].double())
            found = (first / growth).to(peaks.dtype)
            return found, found[..., -1].detach()

        return self.memory.exchange(lambda: torch.zeros_like(peaks[..., 0]), change)  # type: ignore[no-any-return]

    def product(self, left: Tensor, right: Tensor) -> Tensor:
        return self._mean(self._products(left, right).movedim(-4, -1)).movedim(-1, -4)

    def before(self, values: Tensor, frames: int) -> Tensor:
        if not frames:
            return values

        def change(kept: Tensor) -> tuple[Tensor, Tensor]:
            joined = torch.cat([kept, values], dim=-1)
            return joined, joined[..., -frames:].detach()

        shape = (*values.shape[:-1], frames)
        return self.memory.exchange(lambda: values.new_zeros(shape), change)  # type: ignore[no-any-return]

    def _mean(self, sums: Tensor) -> Tensor:
        """Means from the sums over each block ``[..., block]``."""
        if self._heard is None:
            number = torch.arange(self.blocks, device=sums.device)
            age = number[:, None] - number
            self._among = ((self.decay ** age.clamp_min(0)) * (age >= 0)).T
            self._since = self.decay ** (number + 1.0)
            self._heard = self._sums(self._counts(sums.device))
        return self._sums(sums) / self._heard

    def _sums(self, values: Tensor) -> Tensor:
        """Sums of ``[..., block]`` up to each block, earlier ones decayed."""

        def change(kept: Tensor) -> tuple[Tensor, Tensor]:
            found = linear(lambda x: x @ self._among, values) + kept[..., None] * self._since
            return found, found[..., -1].detach()

        return self.memory.exchange(lambda: torch.zeros_like(values[..., 0]), change)  # type: ignore[no-any-return]


class Convolution(nn.Conv2d):
    """A convolution over frequency and time, ``[batch, channel, freq, frame]``, that keeps the
    number of frames; of a causal network it sees no later ones.

    Args:
        kernel: bins and frames, odd numbers. dilation: in time. stride: in frequency.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        kernel: tuple[int, int] = (3, 3),
        *,
        dilation: int = 1,
        stride: int = 1,
        bias: bool = True,
        causal: bool = False,
    ) -> None:
        self.reach = dilation * (kernel[1] - 1)
        super().__init__(
            in_channels,
            channels,
            kernel,
            stride=(stride, 1),
            padding=(kernel[0] // 2, 0 if causal else self.reach // 2),
            dilation=(1, dilation),
            bias=bias,
        )
        self.causal = causal

    def forward(self, x: Tensor, timeline: Timeline = WHOLE) -> Tensor:
        return super().forward(timeline.before(x, self.reach) if self.causal else x)


def linear(function: Callable[[Tensor], Tensor], values: Tensor) -> Tensor:
    """Return a linear function of real or complex values, of the latter's parts."""
    if values.is_complex():
        return torch.complex(function(values.real), function(values.imag))
    return function(values)
