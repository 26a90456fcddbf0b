# SPDX-License-Identifier: Apache-2.0
"""Runs that are begun side by side end with what began them, and one that fails stops no other."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from msdet.sweeps.bench import train_all
from msdet.sweeps.study import StudyConfig, plan


@pytest.mark.slow
def test_ctrl_c_stops_what_was_begun(study: Callable[..., StudyConfig], tmp_path: Path) -> None:
    others = set(psutil.Process().children())  # of earlier tests
    begun: list[psutil.Process] = []

    def interrupt() -> None:
        while len(begun) < 2:
            time.sleep(0.01)
            begun[:] = set(psutil.Process().children()) - others
        os.kill(os.getpid(), signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    thread = threading.Thread(target=interrupt, daemon=True)
    thread.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            train_all(plan(study()), tmp_path / "logs", epochs=1, jobs=2)
    finally:
        signal.signal(signal.SIGINT, before)
    thread.join()
    assert len(begun) == 2
    # one that was being begun at that moment ends on its own, with its pipe
    _, alive = psutil.wait_procs(begun, timeout=60)
    assert not alive
    assert len(list((tmp_path / "logs").iterdir())) == 2, "no third one was begun"


@pytest.mark.slow
def test_a_failure_is_told_by_its_last_line(
    study: Callable[..., StudyConfig], tmp_path: Path
) -> None:
    first, second = plan(study())[:2]
    runs = [
        replace(first, overrides=("nonsense=1",)),
        replace(second, overrides=("trainer.epochs=0",)),
    ]
    failures = train_all(runs, tmp_path / "logs", epochs=1)
    assert "nonsense: no such key" in failures[first.name]
    assert "trainer.epochs=0" in failures[second.name]
