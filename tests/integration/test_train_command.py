# SPDX-License-Identifier: Apache-2.0
"""``msdet train``: a run that was stopped in any way goes on to the very same weights."""

from __future__ import annotations

import json
import math
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from msdet.checkpoints import load_checkpoint
from msdet.cli import main

pytestmark = pytest.mark.integration

EPOCHS = 4
CLOCKS = ("train_seconds", "examples_per_second", "data_wait_share", "peak_rss_gb")
"""What two equal runs measure differently."""


def read_history(folder: Path) -> list[dict[str, Any]]:
    path = folder / "history.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def read_training_state(folder: Path) -> dict[str, Any]:
    """All that shapes the rest of a training, by its name in ``last.ckpt``."""
    content = torch.load(folder / "last.ckpt", weights_only=True)
    left_out = ("callbacks", "loops", "msdet", "datamodule_hparams_by_loader")
    return {key: value for key, value in content.items() if key not in left_out}


def assert_same(found: Any, wanted: Any, where: str = "") -> None:
    """Equal in every bit, tensors included."""
    if isinstance(wanted, dict):
        assert found.keys() == wanted.keys(), where
        for key in wanted:
            assert_same(found[key], wanted[key], f"{where}.{key}")
    elif isinstance(wanted, list | tuple):
        assert len(found) == len(wanted), where
        for i, (one, other) in enumerate(zip(found, wanted, strict=True)):
            assert_same(one, other, f"{where}[{i}]")
    elif isinstance(wanted, torch.Tensor):
        assert torch.equal(found, wanted), where
    else:
        assert found == wanted, where


def assert_same_run(folder: Path, uninterrupted: Path) -> None:
    """The best and the last weights, the optimiser's state and the history of two runs."""
    best, wanted = (load_checkpoint(f / "model.ckpt") for f in (folder, uninterrupted))
    assert_same(best.model.state_dict(), wanted.model.state_dict(), "model.ckpt")
    assert best.description.metrics == wanted.description.metrics
    assert best.description.training["epoch"] == wanted.description.training["epoch"]
    assert_same(read_training_state(folder), read_training_state(uninterrupted), "last.ckpt")
    rows, wanted_rows = (
        [{key: value for key, value in row.items() if key not in CLOCKS} for row in history]
        for history in (read_history(folder), read_history(uninterrupted))
    )
    assert [row["epoch"] for row in rows] == list(range(EPOCHS))
    assert rows == wanted_rows


def snapshot(folder: Path) -> dict[str, bytes]:
    """Every file with its content."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_names_that_scripts_rely_on(trained: Path) -> None:
    summary = json.loads((trained / "summary.json").read_text())
    for key in (
        "si_sdr_improvement_db",
        "azimuth_error_median_deg",
        "azimuth_within_10deg",
        "train_seconds",
        "peak_rss_gb",
        "data_wait_share",
        "num_scenes",
    ):
        assert isinstance(summary[key], int | float), key
    losses = [(row["train_loss"], row["valid_loss"]) for row in read_history(trained)]
    assert all(0 < valid < math.inf and valid != train for train, valid in losses)
    for name in ("model.ckpt", "last.ckpt", "rows.jsonl", "config.yaml", "report.html"):
        assert (trained / name).is_file(), name
    assert list((trained / "tensorboard").glob("events.*"))


@pytest.mark.slow
def test_killed_run_goes_on_as_if_nothing_had_been(
    start: Callable[..., Any], debug: tuple[str, ...], trained: Path, tmp_path: Path
) -> None:
    """Begun with a worker, finished without: data does not depend on who makes it."""
    folder = tmp_path / "run"
    command = ("train", *debug, f"output={folder}", "evaluate=false")
    killed = start(*command, "data.num_workers=1")
    killed.wait_until(lambda: (folder / "last.ckpt").exists())
    time.sleep(random.uniform(0.0, 0.1))
    killed.kill()
    assert 1 <= len(read_history(folder)) < EPOCHS

    resumed = start(*command).finish()
    assert resumed.code == 0, resumed.err
    assert "going on with the unfinished run" in resumed.err
    assert_same_run(folder, trained)


@dataclass(frozen=True)
class Averaged:
    """A run with averaged weights that was stopped three times, and one that was not."""

    stopped: Path
    whole: Path
    command: tuple[str, ...]


@pytest.fixture(scope="module")
def averaged(
    start: Callable[..., Any], debug: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory
) -> Averaged:
    parent = tmp_path_factory.mktemp("averaged")
    settings = ("train", *debug, "evaluate=false", "trainer.ema_decay=0.9")
    whole, folder = parent / "whole", parent / "stopped"
    result = start(*settings, f"output={whole}").finish()
    assert result.code == 0, result.err

    command = (*settings, f"output={folder}")
    interrupted = start(*command)
    interrupted.wait_until(lambda: (folder / "last.ckpt").exists())
    time.sleep(random.uniform(0.0, 0.1))
    result = interrupted.interrupt()
    assert 1 <= len(read_history(folder)) < EPOCHS
    assert result.code == 130, result.err
    assert "stopped; the same command goes on from here" in result.err
    assert "Traceback" not in result.err

    before = (folder / "last.ckpt").read_bytes()
    full = start(*command, largest_file=len(before) - 1000).finish()
    assert full.code == 2, full.err
    assert "Traceback" not in full.err
    last_line = full.err.splitlines()[-1]
    assert last_line.startswith(f"msdet train: {folder / 'last.ckpt'}: cannot be written")
    assert (folder / "last.ckpt").read_bytes() == before

    # The history is written before the checkpoint: killed between the two, the epoch is repeated.
    killed = start(*command)
    killed.wait_until(lambda: len(read_history(folder)) == EPOCHS)
    killed.kill()
    assert not (folder / "summary.json").exists()

    resumed = start(*command).finish()
    assert resumed.code == 0, resumed.err
    return Averaged(folder, whole, command)


@pytest.mark.slow
def test_averaged_weights_survive_ctrl_c_and_a_full_disk_and_a_kill(averaged: Averaged) -> None:
    assert_same_run(averaged.stopped, averaged.whole)
    assert not list(averaged.stopped.rglob("*.part")), "left over"


@pytest.mark.slow
@pytest.mark.usefixtures("same_home")
def test_finished_run_is_kept_and_an_unfinished_one_protected(
    averaged: Averaged, start: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = averaged.stopped
    finished = snapshot(folder)
    kept = folder.with_name(f"{folder.name}.1")
    anew = start(*averaged.command)
    anew.wait_until(lambda: kept.exists() and (folder / "last.ckpt").exists())
    assert "is kept as" in anew.kill().err
    assert snapshot(kept) == finished
    assert 1 <= len(read_history(folder)) < EPOCHS

    unfinished = snapshot(folder)
    del unfinished[".lock"]  # of the killed command, which the next one takes over
    assert main([*averaged.command, "trainer.learning_rate=1e-3"]) == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert "holds an unfinished run of another config" in message
    assert "trainer.learning_rate was 0.002, is 0.001" in message
    assert snapshot(folder) == unfinished


@pytest.mark.usefixtures("same_home")
def test_frozen_part_keeps_the_weights_it_started_from(
    trained: Path, debug: tuple[str, ...], tmp_path: Path
) -> None:
    parts = ("encoder", "refinement_head")
    command = [
        "train",
        *debug,
        f"output={tmp_path / 'run'}",
        "evaluate=false",
        "trainer.epochs=1",
        f"init_from={trained / 'model.ckpt'}",
        f"trainer.freeze=[{','.join(parts)}]",
    ]
    assert main(command) == 0
    before = load_checkpoint(trained / "model.ckpt").model.state_dict()
    after = load_checkpoint(tmp_path / "run" / "model.ckpt").model.state_dict()
    frozen = {name for name in before if name.split(".")[0] in parts}
    assert frozen
    for name in frozen:
        assert torch.equal(before[name], after[name]), name
    moved = [name for name in before if not torch.equal(before[name], after[name])]
    assert {name.split(".")[0] for name in moved} >= {"coarse_head", "fine_head", "separation_head"}


@pytest.mark.usefixtures("same_home")
def test_a_run_ends_when_its_minutes_are_over(debug: tuple[str, ...], tmp_path: Path) -> None:
    folder = tmp_path / "run"
    command = ["train", *debug, f"output={folder}", "evaluate=false", "trainer.epochs=100000"]
    assert main([*command, "trainer.minutes=0.05", "trainer.warmup_steps=0"]) == 0
    history = read_history(folder)
    assert history[-1]["valid_si_sdr_improvement_db"] is not None  # scored after its last step
    state = read_training_state(folder)
    (schedule,) = state["lr_schedulers"]
    (rate,) = schedule["_last_lr"]
    assert rate < 0.05 * schedule["base_lrs"][0]  # it has fallen, though few steps were taken
    assert (folder / "model.ckpt").is_file()
