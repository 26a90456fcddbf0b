# SPDX-License-Identifier: Apache-2.0
"""Which examples a training sees: the same with any number of workers, each once with DDP."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import torch

from msdet import load
from msdet.composing import compose
from msdet.corpora import open_corpus
from msdet.datasets import Batch
from msdet.parsing import parse
from msdet.training.config import TrainConfig
from msdet.training.data import build_data, open_examples

pytestmark = pytest.mark.integration


def batches(debug: tuple[str, ...], num_workers: int, epoch: int) -> list[Batch]:
    overrides = [*debug, f"data.num_workers={num_workers}"]
    config = parse(TrainConfig, compose("train", overrides))
    corpus = open_corpus(config.corpus, config.sample_rate)
    array = config.array.build()
    loader = build_data(
        config, array, corpus, open_examples(config, array, corpus)
    ).train_dataloader()
    loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
    return list(loader)


@pytest.mark.slow
@pytest.mark.usefixtures("same_home")
def test_examples_are_the_same_with_no_worker_and_with_two(debug: tuple[str, ...]) -> None:
    alone, shared = batches(debug, 0, epoch=3), batches(debug, 2, epoch=3)
    assert len(alone) == len(shared) == 4
    for one, other in zip(alone, shared, strict=True):
        assert one.array == other.array
        for name in (field.name for field in fields(Batch)):
            value, again = getattr(one, name), getattr(other, name)
            same = torch.equal(value, again) if torch.is_tensor(value) else value == again
            assert same, name


@pytest.mark.slow
def test_two_processes_see_every_example_once(
    start: Callable[..., Any],
    debug: tuple[str, ...],
    environment: dict[str, str],
    tmp_path: Path,
) -> None:
    record, folder = tmp_path / "record.jsonl", tmp_path / "run"
    environment["RECORD"] = str(record)
    result = start(
        "train",
        *debug,
        f"output={folder}",
        "evaluate=false",
        "trainer.epochs=2",
        "data.batch_size=2",
        "trainer.devices=2",
        "trainer.strategy=ddp",
        script=Path(__file__).with_name("recording.py"),
    ).finish()
    assert result.code == 0, result.err

    seen: dict[tuple[str, int], Counter[int]] = {}
    processes = set()
    for row in map(json.loads, record.read_text().splitlines()):
        seen.setdefault((row["step"], row["epoch"]), Counter()).update(row["examples"])
        processes.add((row["step"], row["rank"]))
    assert processes == {(s, r) for s in ("training_step", "validation_step") for r in (0, 1)}
    for epoch in range(2):
        assert seen["training_step", epoch] == Counter(range(16))
        assert seen["validation_step", epoch] == Counter(range(5))

    history = [json.loads(line) for line in (folder / "history.jsonl").open()]
    assert [row["examples"] for row in history] == [16, 32]
    description = load(folder / "model.ckpt").description
    assert description.training["examples"] in (16, 32)
    assert (folder / "summary.json").exists()
