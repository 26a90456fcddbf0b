# SPDX-License-Identifier: Apache-2.0
"""Samplers: which examples a process takes in an epoch."""

from __future__ import annotations

from collections.abc import Iterator

from torch.utils.data import Sampler


class ExampleSampler(Sampler[int]):
    """This process's examples by their numbers: none twice on any number of devices.

    A batch is a run of `batch_size` indices, and the devices take the batches in turn: what is in
    a batch does not hang on how many devices there are. Batches that not every device would get
    one of are left out.
    """

    def __init__(
        self, length: int, batch_size: int = 1, rank: int = 0, world_size: int = 1
    ) -> None:
        self.length, self.batch_size = length, batch_size
        self.rank, self.world_size = rank, world_size
        self.steps = length // (batch_size * world_size)
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning at the start of each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.steps * self.batch_size

    def __iter__(self) -> Iterator[int]:
        for batch in range(self.rank, self.steps * self.world_size, self.world_size):
            for index in range(batch * self.batch_size, (batch + 1) * self.batch_size):
                yield self.epoch * self.length + index


class UnpaddedSampler(Sampler[int]):
    """This process's share of fixed scenes: no scene twice, none left out."""

    def __init__(self, length: int, rank: int = 0, world_size: int = 1) -> None:
        self.indices = range(rank, length, world_size)

    def __len__(self) -> int:
        return len(self.indices)

    def __iter__(self) -> Iterator[int]:
        return iter(self.indices)
