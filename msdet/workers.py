# SPDX-License-Identifier: Apache-2.0
"""Work that is spread over processes of this machine: one thread each, with progress."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context, parent_process
from multiprocessing.connection import wait
from typing import Any, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from msdet.ending import leave_stops_to_parent

Argument = TypeVar("Argument")
Item = TypeVar("Item")
Result = TypeVar("Result")

_work: Callable[[Any], Any] | None = None


def available_cores() -> int:
    """Cores that this process may use, which may be fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def progress_bar(title: str, disable: bool = False) -> Progress:
    """How many are done, and how long the rest will take; on stderr."""
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
    """Results of ``build(argument)(item)``, in the order of the items.

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


def be_a_worker(number: int = 0) -> None:
    """Compute with one thread, and end with the parent process and not before it: killed, it
    cannot tell its workers to stop.

    Args:
        number: of a loader's worker, which makes no difference.
    """
    import torch  # not above: a command that only simulates starts without it

    torch.set_num_threads(1)
    leave_stops_to_parent()
    end_with_parent()


def end_with_parent() -> None:
    """Let this process end as soon as the one that started it does."""
    parent = parent_process()
    assert parent is not None
    sentinel = parent.sentinel

    def wait_for_it() -> None:
        wait([sentinel])
        os._exit(1)

    threading.Thread(target=wait_for_it, daemon=True).start()


def _run(item: object) -> Any:
    assert _work is not None
    return _work(item)
