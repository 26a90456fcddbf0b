# SPDX-License-Identifier: Apache-2.0
"""``msdet train --multirun``: checks all runs, then trains those that are not finished."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from msdet.composing import compose
from msdet.errors import InputError
from msdet.parsing import parse
from msdet.sweeps.ledger import Ledger
from msdet.sweeps.report import check_kind
from msdet.sweeps.run import Run, compose_run, placed, sweep_folder
from msdet.sweeps.search import Search
from msdet.sweeps.settings import (
    GridConfig,
    SweepConfig,
    combinations,
    is_about_sweep,
    read_settings,
    run_name,
    swept_keys,
)


def sweep(overrides: Sequence[str], print_only: bool = False) -> None:
    """Train all runs that the settings ask for.

    Raises:
        InputError: a setting is wrong, before any run; or runs failed, after all others.
    """
    about = [o for o in overrides if is_about_sweep(o)]
    config = parse(SweepConfig, compose("sweep", about)).sweep
    rest = [o for o in overrides if not is_about_sweep(o)]
    settings = read_settings(config.params, rest)
    keys = swept_keys(settings)
    if "output" in keys:
        raise InputError("output: is the folder of the whole sweep; give one")
    if isinstance(config, GridConfig):
        runs = []
        for combination in combinations(settings):
            values = {key: combination[key] for key in keys}
            texts = [f"{key}={value}" for key, value in combination.items()]
            runs.append(compose_run(run_name(values), texts, values))
        folder = sweep_folder(runs, rest)
        if print_only:
            asked = {run.name: list(run.overrides) for run in runs}
            _print({"output": str(folder), "runs": asked})
        else:
            train_grid([placed(run, folder) for run in runs], folder)
        return
    search = Search.plan(config, settings, rest)
    if print_only:
        _print({"output": str(search.folder), "search": search.description()})
    else:
        search.run()


def train_grid(runs: Sequence[Run], folder: Path) -> None:
    """Train runs in their order, and say what came of each.

    Raises:
        InputError: some failed.
    """
    check_kind(folder, "grid")
    with Ledger(folder, "grid", runs, sum(run.config.trainer.epochs for run in runs)) as ledger:
        for run in runs:
            ledger.train(run)
    ledger.close("the same command tries again")


def _print(content: dict[str, Any]) -> None:
    print(OmegaConf.to_yaml(OmegaConf.create(content)), end="")
