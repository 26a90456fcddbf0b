# SPDX-License-Identifier: Apache-2.0
"""What a person sees of a training fits 80 columns; a log of it holds lines alone."""

from __future__ import annotations

import doctest
import io
import re
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from msdet.composing import compose
from msdet.parsing import parse
from msdet.training import progress
from msdet.training.config import TrainConfig
from msdet.training.progress import Progress

ROW = {
    "train_seconds": 5400.0,
    "train_loss": 0.43219,
    "valid_si_sdr_improvement_db": -12.345,
    "valid_azimuth_error_median_deg": 123.45,
}


def config() -> TrainConfig:
    return parse(TrainConfig, compose("train", ["experiment=debug"]))


def test_examples() -> None:
    assert doctest.testmod(progress).failed == 0


def seen(config: TrainConfig, terminal: bool, monkeypatch: pytest.MonkeyPatch) -> str:
    """What is printed of two epochs of three steps."""
    written = io.StringIO()
    console = Console(file=written, force_terminal=terminal, width=80, highlight=False)
    monkeypatch.setattr("msdet.training.progress.Console", lambda **_: console)
    bookkeeping = SimpleNamespace(history=[])
    shown = Progress(config, bookkeeping)  # type: ignore[arg-type]
    trainer: Any = SimpleNamespace(
        global_step=0, estimated_stepping_batches=6, max_epochs=2, current_epoch=0
    )
    shown.on_train_start(trainer, None)  # type: ignore[arg-type]
    for epoch in range(2):
        trainer.current_epoch = epoch
        for _ in range(3):
            trainer.global_step += 1
            shown.on_train_batch_end(trainer, None, {"loss": 0.5}, None, 0)  # type: ignore[arg-type]
        shown.on_validation_start(trainer, None)  # type: ignore[arg-type]
        bookkeeping.history.append(ROW)
        shown.on_validation_end(trainer, None)  # type: ignore[arg-type]
        shown.on_train_epoch_end(trainer, None)  # type: ignore[arg-type]
    shown.on_train_end(trainer, None)  # type: ignore[arg-type]
    return written.getvalue()


def test_a_log_holds_a_line_an_epoch_and_no_carriage_return(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = seen(config(), False, monkeypatch)
    assert "\r" not in text
    assert "\x1b" not in text
    first, second = text.splitlines()
    for number, line in enumerate((first, second), 1):
        told = f"left  epoch {number}/2  loss 0.432  valid -12.3 dB, 123.5°  after 1:30:00"
        assert re.fullmatch(r"\d+:\d\d " + re.escape(told), line)
        assert len(line) <= 80


def test_a_terminal_shows_the_time_left_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = seen(config(), True, monkeypatch)
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)
    lines = [line for line in re.split(r"[\r\n]+", plain) if "left" in line]
    assert lines
    assert all(len(line.rstrip()) <= 80 for line in lines)
    assert all(re.match(r"(\d+:\d\d|\?) left ", line) for line in lines)
    assert "after 1:30:00" in plain, "the lines of the epochs stay"
