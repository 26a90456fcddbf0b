# SPDX-License-Identifier: Apache-2.0
"""Overlapping windows of audio that comes in blocks, and how their outputs become one again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Audio = NDArray[np.float32]


@dataclass(frozen=True)
class Window:
    """A piece of a recording: ``[mic, sample]``, from sample ``start`` on."""

    start: int
    audio: Audio
    last: bool


def windows(blocks: Iterable[Audio], length: int, overlap: int) -> Iterator[Window]:
    """Windows of which neighbours share ``overlap`` samples; the last one ends with the recording,
    and is half a window longer at most, and half a window long at least unless it is the only one.

    Args:
        blocks: ``[mic, sample]`` each, of any length. length: of a window.
        overlap: half of it at most, so that no three windows share a sample.

    >>> blocks = [np.zeros((1, 3), np.float32)] * 4
    >>> [(w.start, w.audio.shape[1], w.last) for w in windows(blocks, 4, 2)]
    [(0, 4, False), (2, 4, False), (4, 4, False), (6, 4, False), (8, 4, True)]
    """
    start, hop = 0, length - overlap
    most = length + max(0, length // 2 - overlap)
    pending: Audio | None = None
    for block in blocks:
        pending = block if pending is None else np.concatenate([pending, block], axis=1)
        while pending.shape[1] > most:
            yield Window(start, pending[:, :length], last=False)
            pending, start = pending[:, hop:], start + hop
    if pending is not None and pending.shape[1]:
        yield Window(start, pending, last=True)


class OverlapAdd:
    """One track's windows, crossfaded by sin² over what two of them share."""

    def __init__(self, overlap: int) -> None:
        self._overlap = overlap
        self.tail: Audio = np.zeros(self._overlap, np.float32)
        """What the last window said about what it shares with the next."""
        phase = (np.arange(self._overlap) + 0.5) / self._overlap
        self._rise = np.asarray(np.sin(0.5 * np.pi * phase) ** 2, np.float32)

    def add(self, audio: Audio, first: bool, last: bool) -> Audio:
        """The next window ``[sample]``; returns what no later window changes."""
        mixed = audio.copy()
        if not first:
            shared = self._overlap
            mixed[:shared] = self._rise * audio[:shared] + self._rise[::-1] * self.tail
        if last:
            return mixed
        self.tail = audio[-self._overlap :].copy()
        return mixed[: -self._overlap]
