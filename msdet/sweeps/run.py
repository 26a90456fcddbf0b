# SPDX-License-Identifier: Apache-2.0
"""One run of a sweep: what it trains, how far it is, and training it in a process of its own."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from msdet.checkpoints import read_description
from msdet.composing import compose, quoted
from msdet.criteria import Criterion
from msdet.errors import InputError
from msdet.files import read_json
from msdet.output_folder import contents
from msdet.parsing import parse
from msdet.training.callbacks import monitor_sign, monitored
from msdet.training.config import TrainConfig
from msdet.training.run import prepare
from msdet.training.run_folder import (
    CONFIG_NAME,
    SUMMARY_NAME,
    config_difference,
    is_unfinished,
    read_config,
)
from msdet.workers import POLL_SECONDS, ChildCommand, stop_all


@dataclass(frozen=True)
class Run:
    """One training.

    Attributes:
        values: of the keys that differ between the runs of the sweep, as Hydra reads them.
        overrides: what ``msdet train`` is given. config: what becomes of it.
    """

    name: str
    values: Mapping[str, str]
    overrides: tuple[str, ...]
    config: TrainConfig

    @property
    def folder(self) -> Path:
        return Path(self.config.output)

    @property
    def is_finished(self) -> bool:
        return (self.folder / SUMMARY_NAME).exists()

    def epochs_done(self) -> int:
        """All of them if it is finished; early stop may have left some out."""
        history = self.folder / "history.jsonl"
        if self.is_finished:
            return self.config.trainer.epochs
        return len(history.read_text().splitlines()) if history.exists() else 0

    def objective(self) -> tuple[str, float]:
        """The valid metric that decides on its best network, and 1 or -1 where less is better."""
        linear = self.config.array.build().is_linear
        criterion = Criterion(self.config.criterion, linear)
        return monitored(criterion), monitor_sign(criterion)

    def valid_metrics(self) -> dict[str, Any]:
        """Of the best network of a finished run, on the valid scenes."""
        return dict(read_description(self.folder / "model.ckpt").metrics)

    def summary(self) -> dict[str, Any]:
        """Of a finished run: test scores if it was evaluated, and what training took."""
        return read_json(
            self.folder / SUMMARY_NAME, "delete it; the same command makes it from what was trained"
        )


def compose_run(name: str, overrides: Sequence[str], values: Mapping[str, str]) -> Run:
    """A run whose config can be trained; ``overrides`` do not say where yet.

    Raises:
        InputError: it cannot; names the run and the key.
    """
    try:
        config = parse(TrainConfig, compose("train", overrides))
        prepare(config)
        if config.trainer.num_nodes > 1:
            raise InputError("trainer.num_nodes: a sweep runs on one machine; give 1")
    except InputError as error:
        raise InputError(f"{error} (in the run {name})") from error
    return Run(name, values, tuple(overrides), config)


def placed(run: Run, folder: Path) -> Run:
    """The run in a sweep's folder.

    Raises:
        InputError: what is there is not this run.
    """
    output = str(folder / run.name)
    overrides = [o for o in run.overrides if not o.lstrip("+").startswith("output=")]
    config = run.config.model_copy(update={"output": output})
    moved = Run(run.name, run.values, (*overrides, quoted(f"output={output}")), config)
    stored = moved.folder / CONFIG_NAME
    mend = "choose another output="
    if stored.exists():
        begun = moved.is_finished or is_unfinished(moved.folder)
        if begun and (difference := config_difference(read_config(stored), config)):
            raise InputError(
                f"{output}: holds a run of another config ({difference}); give that config "
                f"to go on with it, or {mend}"
            )
    elif moved.folder.exists() and (not moved.folder.is_dir() or contents(moved.folder)):
        raise InputError(f"{output}: is there and holds no run; {mend}")
    return moved


def sweep_folder(runs: Sequence[Run], overrides: Sequence[str]) -> Path:
    """The folder of all runs: ``output`` if it was given, else one in ``sweeps`` beside it.

    Raises:
        InputError: the runs do not agree on it.
    """
    outputs = {run.config.output: run for run in reversed(runs)}
    if len(outputs) > 1:
        (first, run), (second, other), *_ = reversed(outputs.items())
        raise InputError(
            f"output: is {first} of {run.name} and {second} of {other.name}; give output=FOLDER "
            "for the whole sweep"
        )
    output = Path(next(iter(outputs)))
    given = any(override.lstrip("+").startswith("output=") for override in overrides)
    return output if given else output.parent / "sweeps" / output.name


def train(run: Run, log: Path, tell: Callable[[int], None]) -> None:
    """Train a run to its end, from where it is.

    Args:
        log: file that gets what it prints, after what is there.
        tell: is called with the epochs that are done, again and again.
    Raises:
        InputError: it failed; the last line that it printed.
        KeyboardInterrupt: Ctrl-C; the run is stopped first.
    """
    training = ChildCommand(("train", *run.overrides), log)
    try:
        while training.is_running:
            tell(run.epochs_done())
            time.sleep(POLL_SECONDS)
    finally:
        stop_all([training])
    if (failure := training.failure()) is not None:
        raise InputError(failure)
