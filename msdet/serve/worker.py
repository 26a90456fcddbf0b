# SPDX-License-Identifier: Apache-2.0
"""A process with a model in it, for one job at a time, which is ended when a job takes too long.

A thread cannot be stopped and a page that waits for it is stuck; a process can, and one that runs
out of memory does not take the page with it.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import active_children, get_context
from pathlib import Path
from typing import TypeVar

from msdet.errors import InputError
from msdet.inference.separator import Separator, load
from msdet.workers import be_a_worker

log = logging.getLogger(__name__)

Result = TypeVar("Result")

_separator: Separator | None = None
"""The model, in the process that works."""


class Worker:
    """Runs jobs in a process of its own.

    Args:
        checkpoint: file of the model. max_seconds: that a job may take.
        trust: as of :func:`msdet.inference.separator.load`.
    """

    def __init__(self, checkpoint: Path, max_seconds: float, *, trust: bool = False) -> None:
        self._checkpoint, self._max_seconds, self._trust = checkpoint, max_seconds, trust
        self._one_at_a_time = threading.Lock()
        self._closed = False
        self._start()

    def run(self, job: Callable[..., Result], *arguments: object) -> Result:
        """Return ``job(separator, *arguments)``.

        Args:
            job: a function of a module, which a new process can import.
        Raises:
            InputError: what the job raised; or it took too long, or its process died.
        """
        with self._one_at_a_time:
            if not self._process.is_alive():
                self._restart()
            try:
                self._ready.result()  # loading takes a while, which is not the job's
                work: Future[Result] = self._pool.submit(_work, job, arguments)
                return work.result(self._max_seconds)
            except InputError:
                raise
            except TimeoutError as error:
                self._restart()
                raise InputError(
                    f"this took more than {self._max_seconds:g} s and was given up; take a "
                    "shorter recording, or start the page with a larger max_job_seconds"
                ) from error
            except BrokenProcessPool as error:
                self._restart()
                raise InputError(
                    "the process that separates has died, perhaps for want of memory; take a "
                    "shorter recording"
                ) from error
            except Exception as error:  # the terminal gets the trace, also the job's own
                log.exception("a job failed")
                raise InputError(
                    "something went wrong in msdet itself; the terminal shows what"
                ) from error

    def close(self) -> None:
        """End the process, whatever it does, for good."""
        self._closed = True  # a job that waits for it must not start another
        self._end()

    def _start(self) -> None:
        others = active_children()
        spawn = get_context("spawn")  # a fork of a process with a server's threads may hang
        self._pool = ProcessPoolExecutor(1, spawn, _load, (self._checkpoint, self._trust))
        self._ready = self._pool.submit(int)
        (self._process,) = (child for child in active_children() if child not in others)

    def _restart(self) -> None:
        if self._closed:
            raise InputError("the page is being closed")
        self._end()
        self._start()

    def _end(self) -> None:
        self._process.kill()
        self._pool.shutdown(cancel_futures=True)


def _load(checkpoint: Path, trust: bool) -> None:
    global _separator
    be_a_worker(threads=None)
    _separator = load(checkpoint, trust=trust)


def _work(job: Callable[..., Result], arguments: tuple[object, ...]) -> Result:
    return job(_separator, *arguments)
