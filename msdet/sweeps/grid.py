# SPDX-License-Identifier: Apache-2.0
"""A grid: a run for each combination of the values of some keys."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.override_parser.types import Override

from msdet.output_folder import sole_user
from msdet.sweeps.bench import refuse_failures, train_all
from msdet.sweeps.run import Run, compose_run, placed, sweep_folder
from msdet.sweeps.settings import GridConfig, combinations, run_name, swept_keys
from msdet.sweeps.table import SweepTable, record


@dataclass(frozen=True)
class Grid:
    """A grid that can begin."""

    config: GridConfig
    runs: tuple[Run, ...]
    folder: Path

    @classmethod
    def plan(
        cls, config: GridConfig, settings: Sequence[Override], overrides: Sequence[str]
    ) -> Grid:
        """Check every run.

        Args:
            settings: of all runs, some with several values. overrides: those that were typed.
        Raises:
            InputError: one could not be trained.
        """
        runs, keys = [], swept_keys(settings)
        for combination in combinations(settings):
            values = {key: combination[key] for key in keys}
            texts = [f"{key}={value}" for key, value in combination.items()]
            runs.append(compose_run(run_name(values), texts, values))
        return cls(config, tuple(runs), sweep_folder(runs, overrides))

    def description(self) -> dict[str, Any]:
        """Return the runs and where they go, for the screen."""
        return {
            "output": str(self.folder),
            "runs": {run.name: list(run.overrides) for run in self.runs},
        }

    def run(self) -> None:
        """Train those that are not finished.

        Raises:
            InputError: some failed; or the folder holds something else.
        """
        runs = [placed(run, self.folder) for run in self.runs]
        table = SweepTable(self.folder, "grid")
        with sole_user(self.folder):
            table.keep(*map(record, runs))
            failures = train_all(
                runs,
                self.folder / "logs",
                lambda run, failure: table.keep(record(run, failure)),
                epochs=sum(run.config.trainer.epochs for run in runs),
                jobs=self.config.jobs,
            )
        table.show()
        refuse_failures(failures, "the same command tries again")
