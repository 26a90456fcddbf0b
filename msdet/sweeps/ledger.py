# SPDX-License-Identifier: Apache-2.0
"""The runs of a sweep as they are trained: one after the other, each noted as it ends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from rich.console import Console

from msdet.errors import InputError
from msdet.output_folder import sole_user
from msdet.sweeps.report import SWEEP_NAME, Kind, Record, record, table, write_report
from msdet.sweeps.run import Run, train
from msdet.workers import progress_bar

LOGS_NAME = "logs"


class Ledger:
    """Trains runs; says on the screen and in ``sweep.json`` what came of each.

    Args:
        runs: those that are known beforehand. epochs: of all runs together.
    Attributes:
        records: of all runs by their names. best: the run that a search found best.
    """

    def __init__(self, folder: Path, kind: Kind, runs: Sequence[Run], epochs: int) -> None:
        self.folder, self.kind = folder, kind
        self.best: str | None = None
        self.records: dict[str, Record] = {run.name: record(run) for run in runs}
        self.failures: list[str] = []
        self._bar = progress_bar("epochs of all runs")
        self._task = self._bar.add_task("", total=epochs)
        self._ended = 0
        self._alone = ExitStack()

    def __enter__(self) -> Self:
        self._alone.enter_context(sole_user(self.folder))
        self.write()
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()
        self._alone.close()

    def train(self, run: Run) -> bool:
        """Train a run unless it is finished; returns whether it is now."""
        failure = None
        try:
            if not run.is_finished:
                log = self.folder / LOGS_NAME / f"{run.name}.log"
                self._say(f"{run.name}: training; what it says is in {log}")
                train(run, log, self._advance)
        except InputError as error:
            failure = str(error)
        finally:  # also where Ctrl-C leaves it unfinished
            self.keep(record(run, failure), run.config.trainer.epochs)
        return failure is None

    def keep(self, ended: Record, epochs: int) -> None:
        """Note what came of a run of so many epochs."""
        self.records[ended.run] = ended
        self.write()
        self._ended += epochs
        self._advance(0)
        if ended.error is not None:
            self.failures.append(f"{ended.run}: {ended.error}")
            self._say(f"{ended.run}: failed: {ended.error}")

    def recall(self, ended: Mapping[str, Record], epochs: int) -> None:
        """Take over runs that ended before this command, of so many epochs each."""
        self.records |= ended
        self._ended += epochs * len(ended)
        self._advance(0)
        self.write()

    def write(self) -> None:
        """Write ``sweep.json``."""
        write_report(self.folder, self.kind, list(self.records.values()), self.best)

    def close(self, mend: str) -> None:
        """Print the table.

        Args:
            mend: what the same command does about runs that failed.
        Raises:
            InputError: some failed.
        """
        Console().print(table(list(self.records.values()), self.best))
        print(self.folder / SWEEP_NAME)
        if self.failures:
            number = len(self.failures)
            raise InputError(f"{number} failed, the first is {self.failures[0]}; {mend}")

    def _advance(self, epochs: int) -> None:
        self._bar.update(self._task, completed=self._ended + epochs)

    def _say(self, text: str) -> None:
        self._bar.console.print(text, highlight=False, markup=False, soft_wrap=True)
