# SPDX-License-Identifier: Apache-2.0
"""``msdet train`` in a process of its own, for what plans many runs: studies and sweeps."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

_STOP_SECONDS = 60.0
"""How long a stopped training may take to write what it has; then it is killed."""

POLL_SECONDS = 0.2


class ChildTraining:
    """A training that ends with this process, however this one ends (see `msdet.training.child`).

    Args:
        overrides: of ``msdet train``. log: file that gets what it prints, after what is there.
        threads: that it computes with; None leaves them as they are.
    """

    def __init__(self, overrides: Sequence[str], log: Path, threads: int | None = None) -> None:
        log.parent.mkdir(parents=True, exist_ok=True)
        self.log, self.began = log, time.monotonic()
        limits = {} if threads is None else {"OMP_NUM_THREADS": str(threads)}
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "msdet.training.child", "train", *overrides],
                stdin=subprocess.PIPE,  # it ends when this end of the pipe is gone
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **limits},
                process_group=0,  # Ctrl-C reaches it through this process alone, once
            )

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    def failure(self) -> str | None:
        """The last line of an ended training that failed; None of a good one."""
        if self._process.returncode == 0:
            return None
        line = _last_line(self.log) or f"ended with code {self._process.returncode}"
        return line.removeprefix("msdet train: ")

    def stop(self) -> None:
        """As Ctrl-C would, unless it has ended; at last, kill it. Both by this process alone."""
        stop_all([self])


def stop_all(trainings: Sequence[ChildTraining]) -> None:
    """Stop trainings, all at once."""
    for training in trainings:
        if training.is_running:
            with suppress(ProcessLookupError):
                training._process.send_signal(signal.SIGINT)
    until = time.monotonic() + _STOP_SECONDS
    for training in trainings:
        process = training._process
        try:
            process.wait(max(0.0, until - time.monotonic()))
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            process.kill()
            process.wait()
        if process.stdin is not None:
            process.stdin.close()


def _last_line(log: Path) -> str:
    """Progress bars end in carriage returns, not in lines."""
    text = log.read_text(encoding="utf-8", errors="replace").replace("\r", "\n")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""
