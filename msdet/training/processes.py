# SPDX-License-Identifier: Apache-2.0
"""A training of several processes: where one of them dies, all end, and one line says so."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import lightning.pytorch as pl
from lightning.fabric.strategies.launchers.subprocess_script import _ChildProcessObserver
from lightning.pytorch.callbacks import Callback

from msdet.errors import InputError

_POLL_SECONDS = 0.5
_GRACE_SECONDS = 20.0
"""A process that waits for one that died is ended after so long: by gloo it is told at once."""

_TOLD_BY = re.compile(r"gloo|nccl|connection (closed|reset)|socket", re.IGNORECASE)
_GOES_ON = "the same command goes on from the last whole epoch"


class EndTogether(Callback):
    """Watches the processes that the first one began.

    Lightning kills all of them, itself included, without a word.
    """

    def __init__(self) -> None:
        self._over = threading.Event()

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        begun = getattr(trainer.strategy.launcher, "procs", None)
        if not begun:
            return
        for thread in threading.enumerate():
            if isinstance(thread, _ChildProcessObserver):
                thread._child_processes = []  # nothing to wait for: it ends
        threading.Thread(target=self._watch, args=(begun,), daemon=True).start()

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        if isinstance(exception, KeyboardInterrupt | InputError):
            self._over.set()

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self._over.set()

    def _watch(self, begun: Sequence[subprocess.Popen[bytes]]) -> None:
        while _death(begun) is None:
            if self._over.wait(_POLL_SECONDS):
                return
        if not self._over.wait(_GRACE_SECONDS):  # it waits in a collective, perhaps for ever
            print(f"msdet train: {_death(begun)}; {_GOES_ON}", file=sys.stderr, flush=True)
            for process in begun:
                process.kill()
            os._exit(2)


@contextmanager
def told_of_deaths(trainer: pl.Trainer) -> Iterator[None]:
    """Say in one line that another process of the training died.

    Raises:
        InputError: in place of what the library that connects them raises.
    """
    try:
        yield
    except RuntimeError as error:
        if trainer.world_size == 1 or not _TOLD_BY.search(str(error)):
            raise
        begun = getattr(trainer.strategy.launcher, "procs", None) or ()
        until = time.monotonic() + 2 * _POLL_SECONDS
        while (death := _death(begun)) is None and begun and time.monotonic() < until:
            time.sleep(_POLL_SECONDS / 10)  # its end is seen a moment after its connections'
        death = death or "another process of the training ended"
        raise InputError(f"{death}; {_GOES_ON}") from error


def _death(begun: Sequence[subprocess.Popen[bytes]]) -> str | None:
    """Say what became of the first process that failed; None where none did."""
    for rank, process in enumerate(begun, 1):
        if code := process.poll():
            how = f"ended with code {code}" if code > 0 else f"was killed by {_name(-code)}"
            return f"process {rank} of the training {how}"
    return None


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
