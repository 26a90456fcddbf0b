# SPDX-License-Identifier: Apache-2.0
"""A study: methods, each trained with several seeds on the same examples (``configs/study/``)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from omegaconf import OmegaConf
from pydantic import AfterValidator, Field, model_validator

from msdet.errors import InputError
from msdet.parsing import Config, first_difference, parse
from msdet.resources import configs_dir
from msdet.sweeps.run import Run, compose_run, placed
from msdet.training.config import TrainConfig
from msdet.training.run_folder import MAY_DIFFER, config_difference

_SET_BY_STUDY = ("name", "seed", "output", "evaluate")
"""Keys of a training run that a study gives each of its runs."""

_SAME: dict[str, Any] = {
    **dict.fromkeys(("sample_rate", "init_from", "corpus", "scene", "array", "data"), True),
    "trainer": {"epochs", "early_stop", "devices", "num_nodes"},
}
"""Keys that decide on the examples, how many of them there are, and what training begins from."""


def _free_keys(overrides: tuple[str, ...]) -> tuple[str, ...]:
    for override in overrides:
        key = override.lstrip("+~").partition("=")[0]
        if key in _SET_BY_STUDY:
            raise ValueError(f"{override!r}: a study sets {key!r} for each run")
    return overrides


Overrides = Annotated[tuple[str, ...], AfterValidator(_free_keys)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]


class Method(Config):
    """One way to train. ``overrides``: settings of ``msdet train`` on top of the study's base."""

    label: str
    overrides: Overrides


class Comparison(Config):
    """A method against a reference.

    Attributes:
        breakdown: show, too, for which kinds of scenes the difference is large.
    """

    method: str
    reference: str
    breakdown: bool = False


class SceneCounts(Config):
    """How many test scenes: of the task, pairs on and off the seam, with opposite speakers."""

    main: int = Field(ge=2)
    seam: int = Field(ge=0)
    opposite: int = Field(ge=0)


class StudyConfig(Config):
    """A study.

    Attributes:
        title: of its page.
        base: settings of ``msdet train`` that all runs share.
        methods: by their names, which name the runs' folders, too.
        seeds: each method is trained with each of them; one seed is one stream of examples.
        output: folder for runs, scenes and rows.
        results: the page, without its ``.md``; ``.json`` and a folder of this name stand beside it.
        jobs: runs side by side, each with its share of the cores; null takes one per core.
    """

    title: str
    base: Overrides
    methods: dict[Name, Method] = Field(min_length=1)
    seeds: tuple[Annotated[int, Field(ge=0)], ...] = Field(min_length=1)
    scenes: SceneCounts
    comparisons: tuple[Comparison, ...]
    output: str
    results: str
    jobs: int | None = Field(ge=1)

    @model_validator(mode="after")
    def _names_are_known(self) -> StudyConfig:
        if len(set(self.seeds)) != len(self.seeds):
            raise ValueError(f"seeds={list(self.seeds)}: one comes twice")
        known = ", ".join(self.methods)
        pairs = [(c.method, c.reference) for c in self.comparisons]
        for index, pair in enumerate(pairs):
            for key, name in zip(("method", "reference"), pair, strict=True):
                if name not in self.methods:
                    raise ValueError(
                        f"comparisons.{index}.{key}={name!r}: no such method; there are {known}"
                    )
            if pair[0] == pair[1]:
                raise ValueError(f"comparisons.{index}: compares {pair[0]!r} with itself")
            if pair in pairs[:index]:
                raise ValueError(f"comparisons.{index}: {pair[0]!r} and {pair[1]!r} come twice")
        return self

    def label(self, method: str) -> str:
        """Return a method's name for readers."""
        return self.methods[method].label


def load_study(name: str, overrides: Sequence[str] = ()) -> StudyConfig:
    """Read a study by its name, or by the path of its YAML file.

    Args:
        overrides: ``KEY=VALUE`` on the study's own keys, such as ``jobs=4`` or ``seeds=[0,1]``.
    Raises:
        InputError: there is no such study, or it has a mistake; names file and key.
    """
    path = Path(name)
    if path.suffix not in (".yaml", ".yml"):
        folder = configs_dir() / "study"
        path = folder / f"{name}.yaml"
        if not path.is_file():
            known = ", ".join(sorted(file.stem for file in folder.glob("*.yaml")))
            raise InputError(f"{name}: no such study; there are {known}, or give a YAML file")
    try:
        loaded = OmegaConf.merge(OmegaConf.load(path), OmegaConf.from_dotlist(list(overrides)))
        values: Any = OmegaConf.to_container(loaded, resolve=True)
        return parse(StudyConfig, values)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
    except Exception as error:  # of PyYAML's and OmegaConf's many, such as a key that comes twice
        lines = "; ".join(line.strip() for line in str(error).splitlines() if line.strip())
        raise InputError(f"{path}: {lines}") from error


def plan(study: StudyConfig, search: Sequence[str] = ()) -> list[Run]:
    """Return all runs, the first seed's first, so that whole seeds can be compared early.

    Their ``values`` are the name of the method and the seed.

    Args:
        search: settings that say where Hydra finds configs.
    Raises:
        InputError: a run's config has a mistake, two methods are the same, or runs differ in what
            a study holds fixed; names the method and the key. Or a run's folder is another's.
    """
    runs = []
    for seed in study.seeds:
        for method, found in study.methods.items():
            name = f"{method}-seed{seed}"
            own = (f"name={name}", f"seed={seed}", "evaluate=false")
            overrides = (*search, *study.base, *own, *found.overrides)
            values = {"method": method, "seed": str(seed)}
            runs.append(compose_run(name, overrides, values, check=seed == study.seeds[0]))
    _check_comparable(runs[: len(study.methods)])
    return [placed(run, Path(study.output) / "runs") for run in runs]


def _check_comparable(runs: Sequence[Run]) -> None:
    """Refuse methods that see other examples, and one that is there twice."""
    first, *others = runs
    for run in others:
        if difference := first_difference(_shared(first.config), _shared(run.config), MAY_DIFFER):
            raise InputError(
                f"methods.{run.values['method']}: {difference}, unlike "
                f"methods.{first.values['method']}: all runs of a study see the same examples; "
                "set it in base"
            )
    for index, run in enumerate(runs):
        for other in runs[:index]:
            named = run.config.model_copy(update={"name": other.config.name})
            if not config_difference(other.config, named):
                one, same = run.values["method"], other.values["method"]
                raise InputError(f"methods.{one}: is the same as methods.{same}")


def _shared(config: TrainConfig) -> dict[str, Any]:
    return config.model_dump(mode="json", include=_SAME)
