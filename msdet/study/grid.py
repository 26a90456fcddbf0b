# SPDX-License-Identifier: Apache-2.0
"""The runs of a study: what each one trains, how far it is, and whether they can be compared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from msdet.composing import compose
from msdet.errors import InputError
from msdet.parsing import parse
from msdet.study.config import StudyConfig
from msdet.training.config import TrainConfig
from msdet.training.run import prepare
from msdet.training.run_folder import (
    CONFIG_NAME,
    MAY_DIFFER,
    SUMMARY_NAME,
    config_difference,
    is_unfinished,
    read_config,
)

State = Literal["finished", "unfinished", "not begun"]

_SAME = (
    "sample_rate",
    "init_from",
    "corpus",
    "scene",
    "array",
    "data",
    "trainer.epochs",
    "trainer.early_stop",
    "trainer.devices",
    "trainer.num_nodes",
)
"""What all runs of a study must share: examples, how many of them, and what they begin from."""


@dataclass(frozen=True)
class Run:
    """One method with one seed.

    Attributes:
        overrides: what ``msdet train`` is given. config: what becomes of it.
    """

    method: str
    seed: int
    folder: Path
    overrides: tuple[str, ...]
    config: TrainConfig

    @property
    def name(self) -> str:
        return self.config.name

    @property
    def checkpoint(self) -> Path:
        return self.folder / "model.ckpt"

    def state(self) -> State:
        """How far it is.

        Raises:
            InputError: its folder holds a run of another config.
        """
        stored = self.folder / CONFIG_NAME
        finished = (self.folder / SUMMARY_NAME).exists()
        if not stored.exists() or not (finished or is_unfinished(self.folder)):
            return "not begun"
        if difference := config_difference(read_config(stored), self.config):
            raise InputError(
                f"{self.folder}: holds a run of another config ({difference}); move it away or "
                "choose another output="
            )
        return "finished" if finished else "unfinished"

    def epochs_done(self) -> int:
        """Of an unfinished run; what comes after the last whole epoch is done again."""
        history = self.folder / "history.jsonl"
        return len(history.read_text().splitlines()) if history.exists() else 0


def plan(study: StudyConfig) -> tuple[Run, ...]:
    """All runs, the first seed's first, so that whole seeds can be compared early.

    Raises:
        InputError: a run's config has a mistake, two methods are the same, or runs differ in what
            a study holds fixed; names the method and the key.
    """
    runs = tuple(_run(study, name, seed) for seed in study.seeds for name in study.methods)
    of_first_seed = runs[: len(study.methods)]
    for run in of_first_seed:
        try:
            prepare(run.config)
        except InputError as error:
            raise InputError(f"methods.{run.method}: {error}") from error
    _check_same_data(of_first_seed)
    _check_distinct(of_first_seed)
    return runs


def _run(study: StudyConfig, method: str, seed: int) -> Run:
    name = f"{method}-seed{seed}"
    folder = Path(study.output) / "runs" / name
    overrides = (
        *study.base,
        f"name={name}",
        f"seed={seed}",
        f"output={folder}",
        "evaluate=false",
        *study.methods[method].overrides,
    )
    try:
        return Run(method, seed, folder, overrides, parse(TrainConfig, compose("train", overrides)))
    except InputError as error:
        raise InputError(f"methods.{method}: {error}") from error


def _check_same_data(runs: tuple[Run, ...]) -> None:
    first, *others = runs
    wanted = _shared(first.config)
    for run in others:
        found = _shared(run.config)
        for key in sorted({*found, *wanted}):
            if found.get(key) != wanted.get(key):
                raise InputError(
                    f"methods.{run.method}: {key}={found.get(key)!r}, but methods.{first.method} "
                    f"has {wanted.get(key)!r}: all runs of a study see the same examples; set it "
                    "in base"
                )


def _shared(config: TrainConfig) -> dict[str, Any]:
    """Settings that all runs must share."""
    apart = tuple(MAY_DIFFER)
    settings = flat_settings(config).items()
    return {k: v for k, v in settings if k.startswith(_SAME) and not k.startswith(apart)}


def _check_distinct(runs: tuple[Run, ...]) -> None:
    for index, run in enumerate(runs):
        for other in runs[:index]:
            named = run.config.model_copy(update={"name": other.config.name})
            if not config_difference(other.config, named):
                raise InputError(f"methods.{run.method}: is the same as methods.{other.method}")


def flat_settings(config: TrainConfig) -> dict[str, Any]:
    """All keys with dots between levels; lists are values."""
    return _flat(config.model_dump(mode="json"))


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{prefix}{key}.")
        else:
            found[prefix + key] = value
    return found
