# SPDX-License-Identifier: Apache-2.0
"""A search for the settings of the best valid metric, with Optuna; it never sees the test scenes.

Every trial is a run. What was tried is kept in ``study.db`` (SQLite). What a trial draws depends
on the seed, its number and the trials before it: a search that was stopped goes on to the same
trials as one that was not. Import it where optuna is installed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from hydra.core.override_parser.types import Override
from optuna.distributions import BaseDistribution, distribution_to_json
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import URL
from sqlalchemy.exc import SQLAlchemyError

from msdet.errors import InputError
from msdet.output_folder import sole_user
from msdet.parsing import first_difference
from msdet.sweeps.bench import refuse_failures, train_all
from msdet.sweeps.run import Run, compose_run, placed, sweep_folder
from msdet.sweeps.settings import SearchConfig, run_name, values_of
from msdet.sweeps.space import distribution, ends, text_of
from msdet.sweeps.table import Record, SweepTable, record
from msdet.training.config import TrainConfig

STUDY_NAME = "study.db"
_DECIDE_ON_VALID_SCENES: dict[str, Any] = {
    "sample_rate": True,
    "corpus": True,
    "scene": True,
    "array": True,
    "data": {"valid_scenes", "eval_seconds", "eval_seed"},
}


@dataclass(frozen=True)
class Search:
    """A search that can begin.

    Attributes:
        settings: of its runs. space: what is searched, by key.
        first: a run with one value of each key; all others are compared with it.
    """

    config: SearchConfig
    settings: tuple[Override, ...]
    space: Mapping[str, BaseDistribution]
    first: Run
    folder: Path

    @classmethod
    def plan(
        cls, config: SearchConfig, settings: Sequence[Override], overrides: Sequence[str]
    ) -> Search:
        """Check every choice, and both ends of every interval.

        Raises:
            InputError: a run there could not be trained, or not be compared with the others.
        """
        space = {o.get_key_element(): distribution(o) for o in settings if o.is_sweep_override()}
        limits = {key: ends(searched) for key, searched in space.items()}
        first = {key: texts[0] for key, texts in limits.items()}
        others = [{**first, key: text} for key, texts in limits.items() for text in texts[1:]]
        runs = [
            compose_run(run_name(values), _texts(settings, values), values)
            for values in (first, *others)
        ]
        for run in runs:
            _check_comparable(runs[0], run)
        return cls(config, tuple(settings), space, runs[0], sweep_folder(runs, overrides))

    def description(self) -> dict[str, Any]:
        """Tell what is searched for and where, for the screen."""
        metric, sign = self.first.objective
        searched = [o for o in self.settings if o.is_sweep_override()]
        fixed = [o for o in self.settings if not o.is_sweep_override()]
        space = {o.get_key_element(): (o.input_line or "").partition("=")[2] for o in searched}
        return {
            "output": str(self.folder),
            "search": {
                "objective": f"{'largest' if sign > 0 else 'smallest'} {metric} on the valid "
                "scenes",
                "trials": self.config.trials,
                "space": space,
                "settings": _texts(fixed, {}),
            },
        }

    def run(self) -> None:
        """Train until as many runs as asked for are finished, or that many were tried.

        Raises:
            InputError: some failed; or the folder holds another search.
        """
        table = SweepTable(self.folder, "search")
        with sole_user(self.folder):
            study = self._study()
            metric, _ = self.first.objective
            failures: dict[str, str] = {}
            tried: dict[str, FrozenTrial] = {}

            def close(trial: FrozenTrial, known: Record) -> None:
                """Tell Optuna and the table what came of a trial."""
                value = known.valid.get(metric)
                if known.state == "finished" and value is None:
                    reason = f"no {metric}: no valid scene could be scored"
                    known = replace(known, state="failed", error=reason)
                if known.state == "failed":
                    study.set_user_attr(known.run, known.error)
                    study.tell(trial.number, state=TrialState.FAIL)
                    failures[known.run] = str(known.error)
                elif known.state == "finished":
                    study.tell(trial.number, value)
                table.best = _best(study)
                table.keep(known)

            def runs() -> Iterator[Run]:
                for _ in range(wanted):
                    trial = self._next(study)
                    tried[_name(trial)] = trial
                    try:
                        yield self._run(trial)
                    except InputError as error:
                        close(trial, _failed(trial, str(error)))

            ended = [t for t in study.get_trials(deepcopy=False) if t.state.is_finished()]
            finished = [t for t in ended if t.state == TrialState.COMPLETE]
            wanted = max(self.config.trials - len(finished), 0)
            table.best = _best(study)
            table.keep(
                *(
                    record(self._run(trial, check=False))
                    if trial in finished
                    else _failed(trial, study.user_attrs.get(_name(trial), "see its log"))
                    for trial in ended
                )
            )
            train_all(
                runs(),
                self.folder / "logs",
                lambda run, failure: close(tried[run.name], record(run, failure)),
                epochs=wanted * self.first.config.trainer.epochs,
            )
        table.show()
        refuse_failures(failures, "the same command tries others in their place")
        best = self.folder / str(table.best)
        print(f"best: {best}; its test scores: msdet evaluate checkpoint={best / 'model.ckpt'}")

    def _study(self) -> optuna.Study:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        path = self.folder / STUDY_NAME
        space = {key: distribution_to_json(found) for key, found in self.space.items()}
        asked = {"space": space, "config": self.first.config.model_dump(mode="json")}
        try:
            study = optuna.create_study(
                storage=URL.create("sqlite", database=str(path)).render_as_string(),
                study_name="search",
                direction="maximize" if self.first.objective[1] > 0 else "minimize",
                load_if_exists=True,
            )
            found = study.user_attrs.get("asked")
            if found is None:
                study.set_user_attr("asked", found := asked)
        except (SQLAlchemyError, optuna.exceptions.OptunaError, RuntimeError) as error:
            why = str(error).splitlines()[0]
            raise InputError(f"{path}: cannot be used ({why}); choose another output=") from error
        if difference := first_difference(found, asked):
            raise InputError(f"{path}: is another search ({difference}); choose another output=")
        return study

    def _next(self, study: optuna.Study) -> FrozenTrial:
        """Return the trial that was stopped, else a new one."""
        trials = study.get_trials(deepcopy=False)
        for trial in trials:
            if trial.state == TrialState.RUNNING and trial.params.keys() == self.space.keys():
                return trial
        seed = np.random.SeedSequence([self.config.seed, len(trials)]).generate_state(1)
        study.sampler = optuna.samplers.TPESampler(seed=int(seed[0]))
        number = study.ask(dict(self.space)).number
        return study.get_trials(deepcopy=False)[number]

    def _run(self, trial: FrozenTrial, check: bool = True) -> Run:
        values = _values(trial)
        run = compose_run(_name(trial), _texts(self.settings, values), values, check)
        return placed(run, self.folder)


def _texts(settings: Sequence[Override], values: Mapping[str, str]) -> list[str]:
    """Return the settings of a run: fixed ones, and others with its values."""
    keys = [override.get_key_element() for override in settings]
    return [
        f"{key}={values[key] if key in values else values_of(override)[0]}"
        for key, override in zip(keys, settings, strict=True)
    ]


def _values(trial: FrozenTrial) -> dict[str, str]:
    return {key: text_of(value) for key, value in trial.params.items()}


def _name(trial: FrozenTrial) -> str:
    return f"trial-{trial.number:04d}"


def _failed(trial: FrozenTrial, error: str) -> Record:
    return Record(_name(trial), _name(trial), _values(trial), [], "failed", error)


def _best(study: optuna.Study) -> str | None:
    done = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return _name(study.best_trial) if done else None


def _check_comparable(first: Run, other: Run) -> None:
    """Refuse to look at the test scenes, and to compare what is measured on others or otherwise.

    Raises:
        InputError: names the values.
    """
    if other.config.evaluate:
        raise InputError(
            "evaluate=true: a search chooses by the valid scenes and leaves the test scenes alone; "
            "score the best run with msdet evaluate afterwards"
        )
    values = ", ".join(f"{k}={v}" for k, v in other.values.items() if first.values[k] != v)
    (metric, _), (another, _) = first.objective, other.objective
    if metric != another:
        raise InputError(
            f"{values}: would be judged by {another}, other runs of the search by {metric}; "
            "leave it out"
        )
    was, now = (_valid_scenes(run.config) for run in (first, other))
    if difference := first_difference(was, now, ("scene.use_symmetry",)):  # of training alone
        raise InputError(
            f"{values}: changes the valid scenes ({difference}), by which a search compares its "
            "runs; leave it out, or make it a grid"
        )


def _valid_scenes(config: TrainConfig) -> dict[str, Any]:
    return config.model_dump(mode="json", include=_DECIDE_ON_VALID_SCENES)
