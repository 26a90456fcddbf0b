# SPDX-License-Identifier: Apache-2.0
"""What a training's loader makes of a set of examples."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest

from msdet.datasets import Batch, DataConfig, ExampleSet
from msdet.training import data as data_module
from msdet.training.data import MixtureData


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Batch]]:
    """The batches of some epochs, made by so many workers, which are forked here: that takes no
    time to start."""
    real = data_module.DataLoader

    @functools.wraps(real)
    def forking(*arguments: Any, **keys: Any) -> Any:
        return real(*arguments, **keys | {"multiprocessing_context": "fork"})

    def made(examples: ExampleSet, workers: int, *, size: int = 2, epochs: int = 1) -> list[Batch]:
        config = DataConfig(
            crop_seconds=0.05,
            eval_seconds=0.05,
            batch_size=size,
            examples_per_epoch=len(examples),
            train_rooms=None,
            valid_scenes=1,
            test_scenes=1,
            eval_seed=0,
            num_workers=workers,
            prefetch=2,
            cache=None,
        )
        if workers:
            monkeypatch.setattr(data_module, "DataLoader", forking)
        nothing: Any = []
        loader: Any = MixtureData(config, 2, examples, nothing).train_dataloader()
        found = []
        for epoch in range(epochs):
            loader.sampler.set_epoch(epoch)
            found += list(loader)
        return found

    return made
