# SPDX-License-Identifier: Apache-2.0
"""A process with a model in it, for one job at a time, which is ended when a job takes too long.

A thread cannot be stopped and a page that waits for it is stuck; a process can, and one that runs
out of memory does not take the page with it.
"""

from __future__ import annotations

import logging
import threading
import traceback
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, TypeVar

from msdet.errors import InputError
from msdet.inference.separator import Separator, load
from msdet.workers import be_a_worker

log = logging.getLogger(__name__)

Argument = TypeVar("Argument")
Result = TypeVar("Result")

_SPAWN = get_context("spawn")  # a fork of a process with a server's threads may hang


class Worker:
    """Runs jobs in a process of its own.

    Args:
        checkpoint: file of the model. max_seconds: that a job may take.
    """

    def __init__(self, checkpoint: Path, max_seconds: float) -> None:
        self._checkpoint, self._max_seconds = checkpoint, max_seconds
        self._one_at_a_time = threading.Lock()
        self._closed = self._ready = False
        self._process, self._connection = self._start()

    def run(self, job: Callable[[Separator, Argument], Result], argument: Argument) -> Result:
        """What ``job(separator, argument)`` returns.

        Args:
            job: a function of a module, which a new process can import.
        Raises:
            InputError: what the job raised; or it took too long, or its process died.
        """
        with self._one_at_a_time:
            if not self._process.is_alive():
                self._restart()
            try:
                if not self._ready:  # loading takes a while, which is not the job's
                    self._ready = self._connection.recv()
                self._connection.send((job, argument))
                if not self._connection.poll(self._max_seconds):
                    self._restart()
                    raise InputError(
                        f"this took more than {self._max_seconds:g} s and was given up; take a "
                        "shorter recording, or start the page with a larger max_job_seconds"
                    )
                good, answer = self._connection.recv()
            except (EOFError, OSError) as error:
                self._restart()
                raise InputError(
                    "the process that separates has died, perhaps for want of memory; take a "
                    "shorter recording"
                ) from error
        if good:
            return answer  # type: ignore[no-any-return]
        if isinstance(answer, InputError):
            raise answer
        log.error("%s", answer)
        raise InputError("something went wrong in msdet itself; the terminal shows what")

    def close(self) -> None:
        """End the process, whatever it does, for good."""
        self._closed = True  # a job that waits for it must not start another
        self._end()

    def _end(self) -> None:
        self._process.kill()
        self._process.join()
        self._connection.close()

    def _start(self) -> tuple[Any, Connection]:
        ours, theirs = _SPAWN.Pipe()
        process = _SPAWN.Process(target=_work, args=(theirs, self._checkpoint), daemon=True)
        process.start()
        theirs.close()  # so that its death is the end of the file here
        self._ready = False
        return process, ours

    def _restart(self) -> None:
        if self._closed:
            raise InputError("the page is being closed")
        self._end()
        self._process, self._connection = self._start()


def _work(connection: Connection, checkpoint: Path) -> None:
    be_a_worker(threads=None)
    separator = load(checkpoint)
    connection.send(True)
    while True:
        job, argument = connection.recv()
        answer: tuple[bool, Any]
        try:
            answer = True, job(separator, argument)
        except InputError as error:
            answer = False, InputError(str(error))
        except Exception:  # a job that fails must not end the process; the terminal gets the trace
            answer = False, traceback.format_exc()
        connection.send(answer)
