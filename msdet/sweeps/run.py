# SPDX-License-Identifier: Apache-2.0
"""One run among many: what it trains, in which folder, and how far it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from msdet.checkpoints import Description, read_description
from msdet.composing import compose, quoted
from msdet.criteria import Criterion
from msdet.errors import InputError
from msdet.files import read_json, read_json_lines
from msdet.output_folder import contents
from msdet.parsing import parse
from msdet.tasks import Task, trained_tasks
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

State = Literal["finished", "unfinished", "waiting"]
MEND = "delete the folder; the same command trains this run anew"


@dataclass(frozen=True)
class Run:
    """One training.

    Attributes:
        values: of the keys that differ between the runs, as Hydra reads them.
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
    def checkpoint(self) -> Path:
        return self.folder / "model.ckpt"

    @property
    def state(self) -> State:
        if (self.folder / SUMMARY_NAME).exists():
            return "finished"
        return "unfinished" if is_unfinished(self.folder) else "waiting"

    @property
    def tasks(self) -> tuple[Task, ...]:
        """The tasks that it is trained for."""
        return trained_tasks(self.config.criterion.weight, self.config.criterion.distance_weight)

    @property
    def epochs_done(self) -> int:
        """All of them if it is finished; early stop may have left some out."""
        history = self.folder / "history.jsonl"
        if self.state == "finished":
            return self.config.trainer.epochs
        return len(history.read_text().splitlines()) if history.exists() else 0

    @property
    def objective(self) -> tuple[str, float]:
        """The valid metric that decides on its best network, and 1 or -1 where less is better."""
        criterion = Criterion(self.config.criterion, self.config.array.build().is_linear)
        return monitored(criterion), monitor_sign(criterion)

    def description(self) -> Description:
        """Return what the best network of a finished run says of itself."""
        return read_description(self.checkpoint)

    def history(self) -> list[dict[str, Any]]:
        """Return its epochs."""
        return read_json_lines(self.folder / "history.jsonl", MEND)

    def summary(self) -> dict[str, Any]:
        """Return what a finished run says: test scores if evaluated, and what training took."""
        return read_json(self.folder / SUMMARY_NAME, MEND)


def compose_run(
    name: str, overrides: Sequence[str], values: Mapping[str, str], check: bool = True
) -> Run:
    """Make a run; ``overrides`` need not say where.

    Args:
        check: all that can be known before it is trained.
    Raises:
        InputError: it cannot be trained; names the key and the run.
    """
    try:
        config = parse(TrainConfig, compose("train", overrides))
        if check:
            prepare(config)
        if config.trainer.num_nodes > 1:
            raise InputError("trainer.num_nodes: many runs are made on one machine; give 1")
    except InputError as error:
        raise InputError(f"{error} (in the run {name})") from error
    return Run(name, values, tuple(overrides), config)


def placed(run: Run, parent: Path) -> Run:
    """Give a run its folder, of its name in that of all runs.

    Raises:
        InputError: what is there is not this run.
    """
    output = str(parent / run.name)
    overrides = [o for o in run.overrides if not is_output(o)]
    config = run.config.model_copy(update={"output": output})
    moved = replace(run, overrides=(*overrides, quoted(f"output={output}")), config=config)
    stored, mend = moved.folder / CONFIG_NAME, "choose another output="
    if stored.exists():
        begun = moved.state != "waiting"
        if begun and (difference := config_difference(read_config(stored), config)):
            raise InputError(
                f"{output}: holds a run of another config ({difference}); give that config "
                f"to go on with it, or {mend}"
            )
    elif moved.folder.exists() and (not moved.folder.is_dir() or contents(moved.folder)):
        raise InputError(f"{output}: is there and holds no run; {mend}")
    return moved


def is_output(override: str) -> bool:
    """Return whether a setting is that of the folder."""
    return override.lstrip("+").startswith("output=")


def sweep_folder(runs: Sequence[Run], overrides: Sequence[str]) -> Path:
    """Return the folder of all runs: ``output`` if it was given, else one in ``sweeps`` beside it.

    Raises:
        InputError: the runs do not agree on it.
    """
    outputs = list(dict.fromkeys(run.config.output for run in runs))
    if len(outputs) > 1:
        raise InputError(
            f"output: is {outputs[0]} of some runs and {outputs[1]} of others; give output=FOLDER "
            "for the whole sweep"
        )
    output = Path(outputs[0])
    return output if any(map(is_output, overrides)) else output.parent / "sweeps" / output.name
