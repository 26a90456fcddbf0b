# SPDX-License-Identifier: Apache-2.0
"""Samplers: which examples a process takes in an epoch."""

from __future__ import annotations

from collections.abc import Iterator

from torch.utils.data import Sampler


class ExampleSampler(Sampler[tuple[int, int]]):
    """Names this process's examples ``(epoch, index)``: none twice on any number of devices."""

    def __init__(self, length: int, rank: int = 0, world_size: int = 1) -> None:
        self.length, self.rank, self.world_size = length, rank, world_size
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning at the start of each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.length // self.world_size

    def __iter__(self) -> Iterator[tuple[int, int]]:
        for index in range(self.rank, len(self) * self.world_size, self.world_size):
            yield self.epoch, index


class UnpaddedSampler(Sampler[int]):
    """This process's share of fixed scenes: no scene twice, none left out."""

    def __init__(self, length: int, rank: int = 0, world_size: int = 1) -> None:
        self.indices = range(rank, length, world_size)

    def __len__(self) -> int:
        return len(self.indices)

    def __iter__(self) -> Iterator[int]:
        return iter(self.indices)
