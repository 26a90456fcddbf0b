# SPDX-License-Identifier: Apache-2.0
"""``msdet train --multirun``: many runs are trained, as a grid or as a search."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING

from omegaconf import OmegaConf

from msdet.composing import compose
from msdet.errors import InputError
from msdet.parsing import parse
from msdet.sweeps.grid import Grid
from msdet.sweeps.settings import (
    GridConfig,
    SweepConfig,
    is_about_sweep,
    read_settings,
    search_paths,
    swept_keys,
)

if TYPE_CHECKING:
    from msdet.sweeps.search import Search


def run(overrides: Sequence[str], print_config: bool = False) -> None:
    """Check all runs; then train those that are not finished.

    Args:
        overrides: as they were typed, some with several values.
        print_config: print what would be trained in place of it.
    Raises:
        InputError: a setting is wrong, before any run; or runs failed, after all others.
    """
    about = [o for o in overrides if is_about_sweep(o)]
    config = parse(SweepConfig, compose("sweep", [*search_paths(overrides), *about])).sweep
    rest = [o for o in overrides if o not in about]
    own = {} if isinstance(config, GridConfig) else {"evaluate": "false"}
    settings = read_settings({**own, **config.params}, rest)
    if "output" in swept_keys(settings):
        raise InputError("output: is the folder of the whole sweep; give one")
    planned: Grid | Search
    if isinstance(config, GridConfig):
        planned = Grid.plan(config, settings, rest)
    else:
        if find_spec("optuna") is None:
            raise InputError(
                "sweep=optuna: needs optuna; in the clone of msdet: pip install '.[sweep]'"
            )
        from msdet.sweeps.search import Search

        planned = Search.plan(config, settings, rest)
    if print_config:
        print(OmegaConf.to_yaml(OmegaConf.create(planned.description())), end="")
    else:
        planned.run()
