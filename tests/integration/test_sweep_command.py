# SPDX-License-Identifier: Apache-2.0
"""``msdet train --multirun``: stopped in any way, it goes on; a failed run stops no other."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from msdet.checkpoints import load_checkpoint

pytestmark = [pytest.mark.integration, pytest.mark.slow]


def read(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "sweep.json").read_text())
    return found


def states(folder: Path) -> dict[str, str]:
    return {run["run"]: run["state"] for run in read(folder)["runs"]}


def begun(folder: Path) -> Callable[[], bool]:
    return lambda: (folder / "last.ckpt").exists()


def test_a_grid_goes_on_after_ctrl_c_and_after_a_kill(
    start: Callable[..., Any], debug: tuple[str, ...], trained: Path, tmp_path: Path
) -> None:
    """Its first run ends as the one that nothing interrupted, which is of the same settings."""
    folder = tmp_path / "sweep"
    command = ("train", "--multirun", *debug, "seed=0,1", "evaluate=false", f"output={folder}")
    first, second = folder / "seed=0", folder / "seed=1"

    command_1 = start(*command)
    command_1.wait_until(begun(first))
    stopped = command_1.interrupt()
    assert stopped.code == 130, stopped.err
    assert "the same command goes on from here" in stopped.err
    assert states(folder) == {"seed=0": "unfinished", "seed=1": "waiting"}

    command_2 = start(*command)
    command_2.wait_until(begun(second))
    children = psutil.Process(command_2.process.pid).children(recursive=True)
    assert children
    assert command_2.kill().code == -signal.SIGKILL
    assert psutil.wait_procs(children, timeout=30)[1] == [], "a run outlives the sweep"
    summary = first / "summary.json"
    kept = summary.stat().st_mtime_ns

    result = start(*command).finish()
    assert result.code == 0, result.err
    assert summary.stat().st_mtime_ns == kept, "a finished run was trained again"
    assert "going on with the unfinished run" in (folder / "logs" / "seed=1.log").read_text()
    content = read(folder)
    assert [run["state"] for run in content["runs"]] == ["finished", "finished"]
    for run in content["runs"]:
        metrics = load_checkpoint(folder / run["folder"] / "model.ckpt").description.metrics
        assert run["valid"] == {name: metrics.get(name) for name in run["valid"]}
        assert run["objective"] in run["valid"]
        assert run["test"] == {}
    weights = load_checkpoint(first / "model.ckpt").model.state_dict()
    wanted = load_checkpoint(trained / "model.ckpt").model.state_dict()
    assert all(torch.equal(weights[name], wanted[name]) for name in wanted)
    assert "2 finished" in result.out


def test_a_run_that_fails_stops_no_other_and_is_tried_again(
    start: Callable[..., Any], debug: tuple[str, ...], tmp_path: Path
) -> None:
    folder = tmp_path / "sweep"
    rates = "trainer.learning_rate=1e30,0.002"
    one_epoch = ("trainer.epochs=1", "trainer.warmup_steps=0", "trainer.gradient_clip=1e9")
    command = ("train", "-m", *debug, rates, *one_epoch, f"output={folder}")
    result = start(*command).finish()
    assert result.code == 2, result.err
    wrong, right = read(folder)["runs"]
    assert (wrong["state"], right["state"]) == ("failed", "finished")
    assert wrong["error"] in result.err
    assert wrong["error"] in (folder / "logs" / f"{wrong['run']}.log").read_text()
    assert result.err.splitlines()[-1].startswith("msdet train: 1 failed")
    assert right["test"]["si_sdr_improvement_db"] is not None
    summary = json.loads((folder / right["folder"] / "summary.json").read_text())
    assert right["test"] == {name: summary[name] for name in right["test"]}


def test_a_search_trains_and_names_the_best_run(
    start: Callable[..., Any], debug: tuple[str, ...], tmp_path: Path
) -> None:
    folder = tmp_path / "search"
    command = ("train", "-m", "sweep=optuna", "sweep.trials=2", *debug, "trainer.epochs=1")
    result = start(*command, f"output={folder}").finish()
    assert result.code == 0, result.err
    content = read(folder)
    metric = "si_sdr_improvement_db"
    values = {
        run["run"]: load_checkpoint(folder / run["folder"] / "model.ckpt").description.metrics
        for run in content["runs"]
    }
    assert len(values) == 2
    assert content["best"] == max(values, key=lambda name: values[name][metric])
    assert all(not list((folder / run).glob("rows*")) for run in values), "test scenes were used"
    assert f"checkpoint={folder / content['best'] / 'model.ckpt'}" in result.out
