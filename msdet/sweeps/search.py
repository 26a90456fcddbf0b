# SPDX-License-Identifier: Apache-2.0
"""A search for the settings of the best valid metric, with Optuna; it never sees the test scenes.

Every trial is a run. What was tried is kept in ``study.db`` (SQLite). What a trial draws depends
on the seed, its number and the trials before it: a search that was stopped goes on to the same
trials as one that was not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override

from msdet.errors import InputError
from msdet.parsing import first_difference
from msdet.sweeps.ledger import Ledger
from msdet.sweeps.report import Record, check_kind, earlier_records, record
from msdet.sweeps.run import Run, compose_run, placed, sweep_folder
from msdet.sweeps.settings import SearchConfig, readable, run_name
from msdet.sweeps.space import described, distribution, ends, text_of
from msdet.training.config import TrainConfig

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

STUDY_NAME = "study.db"
_SAME_SCENES = ("sample_rate", "corpus", "scene", "array")
_SAME_DATA = ("valid_scenes", "eval_seconds", "eval_seed")
"""Keys, and those of ``data``, that decide on the valid scenes."""


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
        _need_optuna()
        settings = [*settings, *_unevaluated(settings)]
        space = {o.get_key_element(): distribution(o) for o in settings if o.is_sweep_override()}
        limits = {key: ends(searched) for key, searched in space.items()}
        first = {key: texts[0] for key, texts in limits.items()}
        others = [{**first, key: text} for key, texts in limits.items() for text in texts[1:]]
        runs = [
            compose_run(run_name(values), _texts(settings, values), values)
            for values in (first, *others)
        ]
        for run in runs[1:]:
            _check_comparable(runs[0], run)
        return cls(config, tuple(settings), space, runs[0], sweep_folder(runs, overrides))

    def description(self) -> dict[str, Any]:
        """What is searched for and where, for the screen."""
        metric, sign = self.first.objective()
        searched = [o for o in self.settings if o.is_sweep_override()]
        return {
            "objective": f"{'largest' if sign > 0 else 'smallest'} {metric} on the valid scenes",
            "trials": self.config.trials,
            "space": {
                o.get_key_element(): (o.input_line or "").partition("=")[2] for o in searched
            },
            "settings": _texts([o for o in self.settings if o not in searched], {}),
        }

    def run(self) -> None:
        """Train until as many runs as asked for are finished, or that many were tried.

        Raises:
            InputError: some failed; or the folder holds another search.
        """
        from optuna.trial import TrialState

        check_kind(self.folder, "search")
        study = self._study()
        trials = study.get_trials(deepcopy=False)
        begun = [t for t in trials if t.state == TrialState.RUNNING and _is_whole(t, self.space)]
        finished = sum(t.state == TrialState.COMPLETE for t in trials)
        wanted = max(self.config.trials - finished, 0)
        ended, epochs = self._ended(study), self.first.config.trainer.epochs
        with Ledger(self.folder, "search", [], epochs * (len(ended) + wanted)) as ledger:
            ledger.recall(ended, epochs)
            for _ in range(wanted):
                trial = begun.pop(0) if begun else self._draw(study)
                self._try(study, trial, ledger)
                ledger.best = _best(study)
                ledger.write()
        ledger.best = _best(study)
        ledger.write()
        ledger.close("the same command tries others in their place")
        best = self.folder / _name(study.best_trial.number)
        print(f"best: {best}; its test scores: msdet evaluate checkpoint={best / 'model.ckpt'}")

    def _study(self) -> Study:
        import optuna
        from sqlalchemy import URL
        from sqlalchemy.exc import SQLAlchemyError

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        path = self.folder / STUDY_NAME
        asked = {
            "space": {key: described(found) for key, found in self.space.items()},
            "config": self.first.config.model_dump(mode="json"),
        }
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            study = optuna.create_study(
                storage=URL.create("sqlite", database=str(path)).render_as_string(),
                study_name="search",
                direction="maximize" if self.first.objective()[1] > 0 else "minimize",
                load_if_exists=True,
            )
            found = study.user_attrs.get("asked")
            if found is None:
                study.set_user_attr("asked", asked)
                return study
        except OSError as error:
            raise InputError(f"{path}: cannot be written ({error.strerror})") from error
        except (SQLAlchemyError, optuna.exceptions.OptunaError, RuntimeError) as error:
            why = str(error).splitlines()[0]
            raise InputError(f"{path}: cannot be used ({why}); choose another output=") from error
        for key in {**found["space"], **asked["space"]}:
            if (was := found["space"].get(key)) != (now := asked["space"].get(key)):
                raise InputError(
                    f"{path}: is a search of another space ({key} was {was}, is {now}); "
                    "choose another output="
                )
        if difference := first_difference(found["config"], asked["config"]):
            raise InputError(
                f"{path}: is a search with other settings ({difference}); choose another output="
            )
        return study

    def _draw(self, study: Study) -> Trial:
        """A new trial: a function of the seed, its number and the trials before it."""
        import optuna

        number = len(study.get_trials(deepcopy=False))
        seed = np.random.SeedSequence([self.config.seed, number]).generate_state(1)
        study.sampler = optuna.samplers.TPESampler(seed=int(seed[0]))
        return study.ask(dict(self.space))

    def _run(self, trial: Trial | FrozenTrial) -> Run:
        values = _values(trial)
        run = compose_run(_name(trial.number), _texts(self.settings, values), values)
        return placed(run, self.folder)

    def _try(self, study: Study, trial: Trial | FrozenTrial, ledger: Ledger) -> None:
        from optuna.trial import TrialState

        try:
            run = self._run(trial)
        except InputError as error:
            ledger.keep(_failed(trial, str(error)), self.first.config.trainer.epochs)
            study.tell(trial.number, state=TrialState.FAIL)
            return
        if not ledger.train(run):
            study.tell(trial.number, state=TrialState.FAIL)
            return
        metric, _ = run.objective()
        value = run.valid_metrics().get(metric)
        if value is None:
            ledger.keep(_failed(trial, f"no {metric}: no valid scene could be scored"), 0)
            study.tell(trial.number, state=TrialState.FAIL)
        else:
            study.tell(trial.number, value)

    def _ended(self, study: Study) -> dict[str, Record]:
        from optuna.trial import TrialState

        earlier = earlier_records(self.folder)
        found = {}
        for trial in study.get_trials(deepcopy=False):
            known = earlier.get(name := _name(trial.number))
            if trial.state == TrialState.COMPLETE:
                kept = known if known is not None and known.state == "finished" else None
                found[name] = kept or record(self._run(trial))
            elif trial.state == TrialState.FAIL:
                kept = known if known is not None and known.state == "failed" else None
                found[name] = kept or _failed(trial, "see its log")
        return found


def _texts(settings: Sequence[Override], values: Mapping[str, str]) -> list[str]:
    """Settings of a run: fixed ones, and others with its values."""
    found = []
    for override in settings:
        key = override.get_key_element()
        value = values[key] if key in values else override.get_value_element_as_str()
        found.append(readable(f"{key}={value}"))
    return found


def _values(trial: Trial | FrozenTrial) -> dict[str, str]:
    return {key: text_of(value) for key, value in trial.params.items()}


def _name(number: int) -> str:
    return f"trial-{number:04d}"


def _failed(trial: Trial | FrozenTrial, error: str) -> Record:
    name = _name(trial.number)
    return Record(name, name, _values(trial), [], "failed", error)


def _is_whole(trial: FrozenTrial, space: Mapping[str, BaseDistribution]) -> bool:
    """Whether all was drawn before the search was stopped."""
    return trial.params.keys() == space.keys()


def _best(study: Study) -> str | None:
    from optuna.trial import TrialState

    finished = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return _name(study.best_trial.number) if finished else None


def _unevaluated(settings: Sequence[Override]) -> list[Override]:
    """What keeps the test scenes out of a search.

    Raises:
        InputError: they were asked for.
    """
    for override in settings:
        if override.key_or_group == "evaluate":
            if override.is_sweep_override() or override.value() is not False:
                raise InputError(
                    f"{override.input_line}: a search chooses by the valid scenes and leaves the "
                    "test scenes alone; score the best run with msdet evaluate afterwards"
                )
            return []
    return [OverridesParser.create().parse_override("evaluate=false")]


def _check_comparable(first: Run, other: Run) -> None:
    """Refuse to compare what is measured differently, or on other scenes.

    Raises:
        InputError: names the values.
    """
    values = ", ".join(f"{k}={v}" for k, v in other.values.items() if first.values[k] != v)
    (metric, _), (another, _) = first.objective(), other.objective()
    if metric != another:
        raise InputError(
            f"{values}: would be judged by {another}, other runs of the search by {metric}; "
            "leave it out"
        )
    for key in (*_SAME_SCENES, *(f"data.{key}" for key in _SAME_DATA)):
        if _valid_scenes(first.config, key) != _valid_scenes(other.config, key):
            raise InputError(
                f"{values}: changes {key} and so the valid scenes, by which a search compares its "
                "runs; leave it out, or make it a grid"
            )


def _valid_scenes(config: TrainConfig, key: str) -> Any:
    value: Any = config.model_dump(mode="json")
    for part in key.split("."):
        value = value[part]
    if key == "scene":
        value.pop("use_symmetry", None)  # of training examples alone
    return value


def _need_optuna() -> None:
    if find_spec("optuna") is None:
        raise InputError(
            "sweep=optuna: needs optuna; in the clone of msdet: pip install '.[sweep]'"
        )
