# SPDX-License-Identifier: Apache-2.0
"""Processes that work for this one, and end with it: one thread each with progress, or commands."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from importlib import import_module
from multiprocessing import get_context, parent_process
from multiprocessing.connection import wait
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from rich.progress import Progress

Argument = TypeVar("Argument")
Item = TypeVar("Item")
Result = TypeVar("Result")

POLL_SECONDS = 0.2
"""Time between looks whether a child command has ended: short enough for people who watch."""

_STOP_SECONDS = 60.0
"""A stopped command may take so long to write what it has; then it is killed."""

_GRACE_SECONDS = 10.0
"""A worker that is told to stop waits so long for its parent to end it."""

_work: Callable[[Any], Any] | None = None


def available_cores() -> int:
    """Return how many cores this process may use, which may be fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def progress_bar(title: str, disable: bool = False) -> Progress:
    """Make a bar on stderr that tells how many are done, and how long the rest will take."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (TextColumn(title), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True), disable=disable)


def in_processes(
    build: Callable[[Argument], Callable[[Item], Result]],
    argument: Argument,
    items: Sequence[Item],
    *,
    num_workers: int | None,
    title: str,
    done: int = 0,
) -> Iterator[Result]:
    """Yield ``build(argument)(item)`` for each item, in their order.

    Args:
        build: called once in each process, with ``argument``; both must pickle.
        num_workers: processes; None takes one per core.
        title: of the progress bar. done: items finished before, which it counts too.
    """
    if not items:
        return
    workers = min(num_workers or available_cores(), len(items))
    pool = ProcessPoolExecutor(workers, get_context("spawn"), _start, (build, argument))
    try:
        with progress_bar(title) as bar:
            task = bar.add_task("", total=done + len(items), completed=done)
            for future in [pool.submit(_run, item) for item in items]:
                yield future.result()
                bar.advance(task)
    finally:
        pool.shutdown(cancel_futures=True)


def _start(build: Callable[[Any], Callable[[Any], Any]], argument: object) -> None:
    global _work
    be_a_worker()
    _work = build(argument)


def _run(item: object) -> Any:
    assert _work is not None
    return _work(item)


def be_a_worker(number: int = 0, threads: int | None = 1) -> None:
    """Let this process, of `multiprocessing`, end with the one that began it and not before.

    A parent that is killed cannot tell its workers to stop. Told to stop as a group, a worker goes
    on until its parent ends it: one that went first would look like one that failed.

    Args:
        number: of a loader's worker, which makes no difference.
        threads: that torch computes with; None leaves them.
    """
    if threads is not None:
        import torch  # here: child commands start without it

        torch.set_num_threads(threads)

    def wait_for_parent(number: int, frame: FrameType | None) -> None:
        timer = threading.Timer(_GRACE_SECONDS, os._exit, (128 + signal.SIGTERM,))
        timer.daemon = True
        timer.start()

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, wait_for_parent)
    parent = parent_process()
    assert parent is not None
    _end_with(parent.sentinel)


def _end_with(pipe: int) -> None:
    """End this process when its parent is gone, however, and with it the pipe's other end."""

    def wait_for_it() -> None:
        wait([pipe])
        os._exit(1)

    threading.Thread(target=wait_for_it, daemon=True).start()


class ChildCommand:
    """A command of msdet in a process that ends with this one, however this one ends.

    Its standard input is a pipe that this process holds open and never writes to. Ctrl-C reaches
    it through this process alone.

    Args:
        command: of msdet, with its arguments. log: file that gets what it prints, after what is
            there.
        threads: that it computes with; None leaves them.
    """

    def __init__(self, command: Sequence[str], log: Path, threads: int | None = None) -> None:
        log.parent.mkdir(parents=True, exist_ok=True)
        self.log, self.began, self._name = log, time.monotonic(), command[0]
        limits = {} if threads is None else {"OMP_NUM_THREADS": str(threads)}
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", __name__, *command],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **limits},
                process_group=0,
            )

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    def failure(self) -> str | None:
        """Return the last line of an ended command that failed; None of a good one."""
        if self._process.returncode == 0:
            return None
        # Progress bars end in carriage returns, not in lines.
        text = self.log.read_text(encoding="utf-8", errors="replace").replace("\r", "\n")
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        line = lines[-1] if lines else f"ended with code {self._process.returncode}"
        return line.removeprefix(f"msdet {self._name}: ")


def stop_all(commands: Sequence[ChildCommand]) -> None:
    """Stop commands, all at once, as Ctrl-C would; kill those that take more than a minute."""
    processes = [command._process for command in commands]
    for process in processes:
        process.send_signal(signal.SIGINT)  # which does nothing to one that has ended
    until = time.monotonic() + _STOP_SECONDS
    for process in processes:
        try:
            process.wait(max(0.0, until - time.monotonic()))
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            process.kill()
            process.wait()
        if process.stdin is not None:
            process.stdin.close()


if __name__ == "__main__":
    # Begun in the background of a script, it would inherit that Ctrl-C is ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    _end_with(sys.stdin.fileno())
    sys.exit(import_module("msdet.cli").main())  # by its name: it is far above this module
