# SPDX-License-Identifier: Apache-2.0
"""What a run starts from: weights of its seed alone, a network that fits, its own state files."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from msdet.composing import compose
from msdet.criteria import Criterion, CriterionConfig
from msdet.errors import InputError
from msdet.models.msdet import MSDET
from msdet.parsing import parse
from msdet.training import precision
from msdet.training.config import TrainConfig, TrainerConfig
from msdet.training.module import Training, warmup_cosine
from msdet.training.run import build_model
from msdet.training.run_folder import SOURCES_NAME, check_same_mixtures


def config(*overrides: str) -> TrainConfig:
    return parse(TrainConfig, compose("train", ["experiment=debug", *overrides]))


def weights(*overrides: str) -> dict[str, torch.Tensor]:
    asked = config(*overrides)
    return build_model(asked, asked.array.build()).state_dict()


def test_weights_depend_on_the_seed_alone() -> None:
    torch.manual_seed(1)
    first = weights("seed=3")
    torch.manual_seed(2)
    again, other = weights("seed=3"), weights("seed=4")
    assert all(torch.equal(first[name], weight) for name, weight in again.items())
    assert any(not torch.equal(first[name], weight) for name, weight in other.items())


def test_making_a_network_leaves_the_generators_alone() -> None:
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002
    weights("seed=3")
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]
    assert np.random.get_state()[1].tolist() == before[2]  # noqa: NPY002


def test_a_network_beyond_the_machine_s_memory_is_refused_before_it_is_made() -> None:
    sizes = ("model.encoder.channels=[4096,4096]", "model.encoder.blocks=[64,64]")
    with pytest.raises(InputError, match=r"^model: its weights take .* lessen model\.encoder"):
        weights(*sizes)


@pytest.mark.parametrize(
    "content", ["", "[]", '{"data.simulated=x": 5}', '{"data.simulated=x": [1]}']
)
def test_a_damaged_list_of_sources_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / SOURCES_NAME).write_text(content)
    with pytest.raises(InputError, match=r"sources\.json: is damaged.*delete it") as caught:
        check_same_mixtures(tmp_path, {"data.simulated=x": (10, "abc")})
    assert "\n" not in str(caught.value)


# --- runs that diverge --------------------------------------------------------------------


@pytest.fixture
def training(make_model: Callable[..., MSDET]) -> Training:
    settings: dict[str, Any] = compose("train", ["experiment=debug"])["trainer"]
    model = make_model(slots=4)
    criterion = Criterion(CriterionConfig(assignment="pit", weight=0.9), linear_array=False)
    return Training(model, criterion, TrainerConfig(**settings))


def test_weights_that_a_step_broke_are_neither_scored_nor_saved(training: Training) -> None:
    training.on_validation_start()
    training.on_save_checkpoint({"state_dict": training.state_dict()})
    with torch.no_grad():
        training.model.separation_head.out.weight[0, 0, 0, 0] = torch.nan
    for hook in (
        training.on_validation_start,
        lambda: training.on_save_checkpoint({"state_dict": training.state_dict()}),
    ):
        with pytest.raises(InputError, match=r"^training diverged: model\.separation_head\.out"):
            hook()


# --- precision and time -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "chosen"),
    [((1.0, 0.5), "bf16-mixed"), ((1.0, 0.95), "32-true"), ((1.0, 6.0), "32-true")],
)
def test_a_precision_is_chosen_by_the_time_of_a_step(
    seconds: tuple[float, float], chosen: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Once: a run that goes on keeps its choice."""
    measured = dict(zip((torch.float32, torch.bfloat16), seconds, strict=True))
    monkeypatch.setattr(precision, "_step_seconds", lambda *_: measured)
    asked = config("trainer.precision=auto", "trainer.accelerator=cpu")
    model, criterion = build_model(asked, asked.array.build()), Criterion(asked.criterion)
    assert precision.settled_precision(asked, model, criterion, tmp_path) == chosen
    other = dict(zip(measured, reversed(seconds), strict=True))
    monkeypatch.setattr(precision, "_step_seconds", lambda *_: other)
    assert precision.settled_precision(asked, model, criterion, tmp_path) == chosen
    (tmp_path / "precision.json").write_text('{"precision": "64"}')
    with pytest.raises(InputError, match=r"precision\.json: precision='64'"):
        precision.settled_precision(asked, model, criterion, tmp_path)


def test_measuring_precisions_leaves_the_network_alone(tmp_path: Path) -> None:
    asked = config("trainer.precision=auto", "trainer.accelerator=cpu")
    model, criterion = build_model(asked, asked.array.build()), Criterion(asked.criterion)
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    chosen = precision.settled_precision(asked, model, criterion, tmp_path)
    assert chosen in ("32-true", "bf16-mixed")
    assert all(torch.equal(before[name], weight) for name, weight in model.state_dict().items())
    assert all(weight.grad is None for weight in model.parameters())


def test_the_learning_rate_falls_by_the_clock_where_that_is_ahead() -> None:
    by_steps = [warmup_cosine(10, 110, step) for step in (0, 9, 60, 110)]
    assert by_steps == pytest.approx([0.1, 1.0, 0.5, 0.0])
    assert warmup_cosine(10, 110, 4, 0.9) == pytest.approx(0.5)  # still warming up
    assert warmup_cosine(10, 110, 60, 0.2) == pytest.approx(0.5)
    assert warmup_cosine(10, 110, 20, 0.5) == pytest.approx(0.5)
    assert warmup_cosine(10, 110, 20, 1.5) == pytest.approx(0.0)
