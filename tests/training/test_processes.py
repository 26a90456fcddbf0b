# SPDX-License-Identifier: Apache-2.0
"""What the death of one process of a training does to the others."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest
from lightning.fabric.strategies.launchers.subprocess_script import _ChildProcessObserver

from msdet.errors import InputError
from msdet.training.processes import told_of_deaths

LOST = "[gloo/transport/tcp/pair.cc:561] Connection closed by peer [127.0.0.1]:681"


def trainer(*begun: subprocess.Popen[bytes], world_size: int = 2) -> Any:
    launcher = SimpleNamespace(procs=list(begun))
    return SimpleNamespace(world_size=world_size, strategy=SimpleNamespace(launcher=launcher))


def ended(code: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", code])


@pytest.mark.parametrize(
    ("code", "says"),
    [
        (f"import os; os.kill(os.getpid(), {signal.SIGKILL:d})", "was killed by SIGKILL"),
        ("raise SystemExit(3)", "ended with code 3"),
    ],
)
def test_who_died_and_how_is_said_in_a_line(code: str, says: str) -> None:
    process = ended(code)
    process.wait()
    with pytest.raises(InputError) as caught, told_of_deaths(trainer(process)):
        raise RuntimeError(LOST)
    assert str(caught.value).startswith(
        f"process 1 of the training {says}; the same command goes on"
    )


def test_a_process_that_began_none_says_that_another_ended() -> None:
    with pytest.raises(InputError, match="another process"), told_of_deaths(trainer()):
        raise RuntimeError(LOST)


@pytest.mark.parametrize(("message", "world_size"), [(LOST, 1), ("shapes differ", 2)])
def test_other_errors_are_left_as_they_are(message: str, world_size: int) -> None:
    lost = trainer(world_size=world_size)
    with pytest.raises(RuntimeError, match=re.escape(message)) as caught, told_of_deaths(lost):
        raise RuntimeError(message)
    assert not isinstance(caught.value, InputError)


def test_lightning_s_own_watch_ends_when_it_has_nobody_to_watch() -> None:
    observer = _ChildProcessObserver(os.getpid(), [ended("pass")])
    observer._child_processes = []
    assert observer._run() is True
