# SPDX-License-Identifier: Apache-2.0
"""The bench that all runs are trained on: processes of their own, one or several side by side."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from msdet.errors import InputError
from msdet.sweeps.run import Run
from msdet.workers import POLL_SECONDS, ChildCommand, available_cores, progress_bar, stop_all


def train_all(
    runs: Iterable[Run],
    logs: Path,
    ended: Callable[[Run, str | None], None] = lambda run, failure: None,
    *,
    epochs: int,
    jobs: int = 1,
) -> dict[str, str]:
    """Train runs to their end, in their order, from wherever each of them is.

    A run is asked for when there is a place for it, so that what comes next may depend on what the
    runs before it came to. One that fails does not stop the others.

    Args:
        logs: folder for what each of them prints, added to what is there.
        ended: is called with each run that ended, also one that was finished before or is stopped
            now, and with what it failed of.
        epochs: of all runs together, which the progress bar counts.
        jobs: runs side by side, each with its share of the cores.
    Returns:
        Of runs that failed, by name, the last line that they printed.
    Raises:
        KeyboardInterrupt: Ctrl-C or SIGTERM; those that were running are stopped first.
    """
    waiting, running = iter(runs), list[tuple[Run, ChildCommand]]()
    failures: dict[str, str] = {}
    done = 0
    with progress_bar("epochs of all runs") as bar:

        def say(text: str) -> None:
            bar.console.print(text, highlight=False, markup=False, soft_wrap=True)

        def close(run: Run, failure: str | None) -> None:
            if failure is not None:
                failures[run.name] = failure
                say(f"{run.name}: failed: {failure}")
            ended(run, failure)

        task = bar.add_task("", total=epochs)
        try:
            while True:
                while len(running) < jobs and (run := next(waiting, None)) is not None:
                    if run.state == "finished":
                        done += run.config.trainer.epochs
                        close(run, None)
                        continue
                    log = logs / f"{run.name}.log"
                    say(f"{run.name}: training; what it says is in {log}")
                    child = ChildCommand(("train", *run.overrides), log, threads_of(jobs))
                    running.append((run, child))
                bar.update(task, completed=done + sum(run.epochs_done for run, _ in running))
                if not running:
                    return failures
                time.sleep(POLL_SECONDS)
                for run, child in [pair for pair in running if not pair[1].is_running]:
                    running.remove((run, child))
                    stop_all([child])
                    done += run.config.trainer.epochs
                    close(run, child.failure())
        finally:
            stop_all([child for _, child in running])
            for run, _ in running:
                ended(run, None)


def refuse_failures(failures: Mapping[str, str], mend: str) -> None:
    """Say at the end that runs failed.

    Args:
        failures: by name, why. mend: what the same command does about them.
    Raises:
        InputError: there are some.
    """
    if failures:
        name, why = next(iter(failures.items()))
        raise InputError(f"{len(failures)} failed, the first is {name}: {why}; {mend}")


def threads_of(jobs: int) -> int | None:
    """Return how many threads each of so many runs computes with; None: as many as it likes."""
    return None if jobs == 1 else max(1, available_cores() // jobs)
