# SPDX-License-Identifier: Apache-2.0
"""Trains the runs of a study side by side."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from msdet.study.grid import Run
from msdet.workers import POLL_SECONDS, ChildCommand, stop_all


def train_all(runs: Sequence[Run], jobs: int, threads: int, logs: Path) -> dict[str, str]:
    """Train runs to their end, in their order, ``jobs`` at a time.

    Args:
        threads: of each. logs: folder for what each of them prints.
    Returns:
        Of runs that failed, by name, the last line that they printed.
    Raises:
        KeyboardInterrupt: Ctrl-C; those that were running are stopped first.
    """
    console, failures = Console(stderr=True, highlight=False), {}
    waiting, running, done = list(runs), dict[str, ChildCommand](), 0
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                run = waiting.pop(0)
                log = logs / f"{run.name}.log"
                running[run.name] = ChildCommand(("train", *run.overrides), log, threads)
            time.sleep(POLL_SECONDS)
            for name in [name for name, t in running.items() if not t.is_running]:
                training = running.pop(name)
                stop_all([training])
                done += 1
                what = f"{done}/{len(runs)} {name}:"
                if (failure := training.failure()) is None:
                    seconds = time.monotonic() - training.began
                    console.print(f"{what} trained, {seconds:.0f} s")
                else:
                    failures[name] = failure
                    console.print(f"{what} failed: {failure} ({training.log})")
    finally:
        stop_all(list(running.values()))
    return failures
