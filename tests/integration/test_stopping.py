# SPDX-License-Identifier: Apache-2.0
"""SIGTERM ends every command as Ctrl-C does; a kill at any change of a file leaves nothing."""

from __future__ import annotations

import signal
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from importlib import import_module
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import psutil
import pytest

from msdet.cli import main
from tests.integration.killing import kill_everywhere

pytestmark = pytest.mark.integration

GOES_ON = "stopped by SIGTERM; the same command goes on from here"
SIMULATED = ("audio=true", "seconds=1", "sample_rate=8000")


SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    ("command", "begun"),
    [
        ("simulate output=out num_scenes=200 num_workers=2", "audio/test-*"),
        pytest.param("train output=out data.num_workers=1", "last.ckpt", marks=SLOW),
        pytest.param("evaluate output=out num_workers=2", "rows.jsonl", marks=SLOW),
        pytest.param("train --multirun output=out seed=0,1", "seed=0/last.ckpt", marks=SLOW),
    ],
    ids=["simulate", "train", "evaluate", "sweep"],
)
def test_sigterm_to_all_of_a_job_stops_it_in_one_line(
    command: str,
    begun: str,
    start: Callable[..., Any],
    request: pytest.FixtureRequest,
    tmp_path: Path,
) -> None:
    name, *settings = command.replace("output=out", f"output={tmp_path / 'out'}").split()
    if name == "simulate":
        settings += SIMULATED
    elif name == "train":
        settings += request.getfixturevalue("debug")
    else:
        trained: Path = request.getfixturevalue("trained")
        settings += [f"checkpoint={trained / 'model.ckpt'}"]
    started = start(name, *settings)
    started.wait_until(lambda: any((tmp_path / "out").glob(begun)))
    ended = started.interrupt(signal.SIGTERM)
    assert ended.code == 143, ended.err
    assert ended.err.splitlines()[-1] == GOES_ON
    assert "Traceback" not in ended.err
    started.must_leave_nothing()
    assert not (tmp_path / "out" / "summary.json").exists()


@pytest.mark.slow
def test_a_run_of_a_sweep_that_is_stopped_is_told_as_such_and_tried_again(
    start: Callable[..., Any], debug: tuple[str, ...], tmp_path: Path
) -> None:
    folder = tmp_path / "sweep"
    command = ("train", "--multirun", *debug, "seed=0,1", "evaluate=false", f"output={folder}")
    sweep = start(*command)
    sweep.wait_until(lambda: (folder / "seed=0" / "last.ckpt").exists())
    [child] = psutil.Process(sweep.process.pid).children()
    child.terminate()
    ended = sweep.finish()
    assert ended.code == 2
    assert f"1 failed, the first is seed=0: {GOES_ON}" in ended.err
    again = start(*command).finish()
    assert again.code == 0, again.err
    assert "going on with the unfinished run" in (folder / "logs" / "seed=0.log").read_text()


@pytest.mark.slow
def test_two_trainings_in_one_folder_are_not_let_in(
    start: Callable[..., Any], debug: tuple[str, ...], tmp_path: Path
) -> None:
    command = ("train", *debug, f"output={tmp_path / 'run'}", "trainer.epochs=400")
    first = start(*command)
    first.wait_until(lambda: (tmp_path / "run" / "last.ckpt").exists())
    for other in (command, ("evaluate", f"checkpoint={tmp_path}/run/model.ckpt", command[-2])):
        second = start(*other).finish()
        assert second.code == 2
        assert second.err.splitlines()[-1].startswith(
            f"msdet {other[0]}: output={tmp_path / 'run'}: process {first.process.pid} on "
        )
    assert first.interrupt().code == 130


@pytest.fixture
def somewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tries").mkdir()
    return tmp_path / "tries"


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.slow
@pytest.mark.usefixtures("same_home")
@pytest.mark.parametrize(
    "command",
    [
        "simulate output=out num_scenes=1 num_workers=1",
        "simulate output=out num_scenes=1 num_workers=1 format=tar",
        "bank output=out num_rooms=2 num_workers=1",
    ],
)
def test_a_kill_at_any_change_of_a_file_changes_nothing(command: str, somewhere: Path) -> None:
    given = command.split()
    if given[0] == "simulate":
        given += SIMULATED
    assert kill_everywhere(given, somewhere, outcome=files) > 8


@pytest.mark.slow
@pytest.mark.usefixtures("same_home")
def test_a_separation_that_is_killed_anywhere_is_made_again(somewhere: Path) -> None:
    scenes = somewhere.parent / "scenes"
    assert main(["simulate", f"output={scenes}", "num_scenes=1", *SIMULATED]) == 0
    mixture = next(scenes.glob("audio/*/mixture.wav"))
    given = ["separate", str(mixture), "output=out", "picture=false", "num_workers=1"]

    def twice(folder: Path) -> None:
        """What was there before of the same recording is replaced, not added to."""
        assert main([*given, "num_speakers=2"]) == 0

    assert kill_everywhere(given, somewhere, twice, files) > 8


@pytest.mark.slow
@pytest.mark.usefixtures("same_home")
def test_a_training_that_is_killed_anywhere_goes_on(
    debug: tuple[str, ...], somewhere: Path
) -> None:
    tiny = ("trainer.epochs=1", "data.examples_per_epoch=4", "data.train_rooms=2")
    given = ["train", *debug, *tiny, "data.valid_scenes=2", "output=out", "evaluate=false"]
    # In a fresh process: torch trains in no fork of one that has trained, as this one may have.
    # It has imported what each fork would take seconds to import.
    with ProcessPoolExecutor(
        1, get_context("spawn"), initializer=import_module, initargs=("msdet.commands.train",)
    ) as fresh:
        killed = fresh.submit(kill_everywhere, given, somewhere, outcome=_names)
        assert killed.result() > 12


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "out").iterdir())
