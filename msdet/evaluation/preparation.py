# SPDX-License-Identifier: Apache-2.0
"""The checkpoints, estimates and scenes of an evaluation, opened and checked before any work."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path

from msdet.benchmarks import benchmark_names, scenes_file
from msdet.checkpoints import Checkpoint, Description, load_checkpoint
from msdet.corpora import BundledConfig, Corpus, CorpusConfig, open_corpus
from msdet.errors import InputError
from msdet.evaluation.config import EvaluationConfig
from msdet.evaluation.rows import RowsHeader
from msdet.evaluation.scoring import Scoring
from msdet.evaluation.systems.folder import FolderEstimates
from msdet.evaluation.systems.names import (
    ALONE,
    DIRECTIONS_ALONE,
    ESTIMATES,
    MODEL,
    choose_systems,
)
from msdet.evaluation.systems.network import separates
from msdet.metrics import Measure, Metric
from msdet.metrics.choose import MATCHING, choose_metrics
from msdet.metrics.conditions import check_conditions
from msdet.metrics.measures import METRICS, measures_of
from msdet.metrics.metric import say
from msdet.parsing import parse
from msdet.parts import OwnPart
from msdet.resources import models_dir
from msdet.simulation import Scene, check_corpus, fixed_scenes, read_scenes, rirs_folder
from msdet.training.config import TrainConfig


@dataclass(frozen=True)
class Prepared:
    """An evaluation that can begin.

    Attributes:
        checkpoints: by the names that their systems have. main: the system whose numbers stand
            first, and that is compared with the others. measures: what systems are told by.
        unavailable: metrics that this installation lacks, with the reason.
        clipped: of each folder of estimates that has any, the samples at full scale by file.
    """

    scenes: tuple[Scene, ...]
    checkpoints: Mapping[str, Checkpoint]
    scoring: Scoring
    header: RowsHeader
    main: str
    measures: Mapping[str, Measure]
    unavailable: Mapping[str, str]
    clipped: Mapping[str, Mapping[str, int]]

    @property
    def linear(self) -> bool:
        """True where the scenes' arrays are lines: no seam, no opposition."""
        return self.scenes[0].microphone_array().is_linear


def prepare(config: EvaluationConfig) -> Prepared:
    """Open what an evaluation needs; writes nothing.

    Raises:
        InputError: a key, a file or a scene does not fit; names it.
    """
    output = Path(config.output)
    if output.exists() and not output.is_dir():
        raise InputError(f"output={output}: is a file; name a folder")
    if config.conditions is not None:
        check_conditions(config.conditions)
    checkpoints = _open_checkpoints(config)
    corpus_config, corpus, scenes = _open_scenes(config, checkpoints)
    for checkpoint in checkpoints.values():
        check_scenes(scenes, checkpoint)
    check_corpus(scenes, corpus)
    folders = {
        name: FolderEstimates(folder, scenes, key)
        for name, (folder, key) in _folders(config.estimates).items()
    }
    models: dict[str, Path | FolderEstimates] = {**folders}
    separated = {name: folder.separates for name, folder in folders.items()}
    hashes = {name: folder.fingerprint for name, folder in folders.items()}
    for name, checkpoint in checkpoints.items():
        models[name], separated[name] = checkpoint.path, separates(checkpoint.description)
        hashes[name] = hashlib.sha256(checkpoint.path.read_bytes()).hexdigest()
    systems = choose_systems(config.systems, separated)
    rate = scenes[0].sample_rate
    metrics, unavailable = choose_metrics(
        config.metrics, rate, config.recogniser, config.error_window_ms
    )
    of_system = _metrics_of(systems, metrics, config, separated)
    own = [metric for metric in metrics if metric.name not in METRICS]
    parts = [part for part in config.metrics or () if isinstance(part, OwnPart)]
    header = RowsHeader(
        models=hashes,
        scenes=scenes_hash(scenes),
        systems={name: tuple(metric.name for metric in of) for name, of in of_system.items()},
        recogniser=config.recogniser,
        error_window_ms=config.error_window_ms,
        own_metrics={m.name: p.model_dump_json() for m, p in zip(own, parts, strict=True)},
        as_networks=False,
        moving=config.moving,
    )
    return Prepared(
        scenes=scenes,
        checkpoints=checkpoints,
        scoring=Scoring(
            models=models,
            corpus=corpus_config,
            sample_rate=rate,
            split=config.split,
            bank=rirs_folder(config.cache),
            systems=systems,
            metrics=of_system,
            moving=config.moving,
        ),
        header=header,
        main=next((name for name in systems if name in models), systems[0]),
        measures=measures_of(own),
        unavailable=unavailable,
        clipped={name: folder.clipped for name, folder in folders.items() if folder.clipped},
    )


def check_scenes(scenes: Sequence[Scene], checkpoint: Checkpoint) -> None:
    """Refuse scenes that the model cannot be scored on.

    Raises:
        InputError: names the checkpoint, the scene, and what to give in their place.
    """
    for scene in scenes:
        if (misfit := _misfit(scene, checkpoint.description)) is not None:
            raise InputError(f"checkpoint={checkpoint.path}: scene {scene.id}: {misfit}")


def _misfit(scene: Scene, description: Description) -> str | None:
    """Why a scene does not fit a model, and what would; None where it fits."""
    rate, own_rate = scene.sample_rate, description.sample_rate
    if rate != own_rate:
        return f"is at {rate} Hz, the model at {own_rate} Hz; give scenes at {own_rate} Hz"
    array, trained = scene.microphone_array(), description.array
    if array.is_linear != trained.is_linear:
        kinds = ("not linear", "linear")
        return (
            f"its array {array.name!r} is {kinds[array.is_linear]}, that of the model "
            f"{kinds[trained.is_linear]}; give scenes of an array that is "
            f"{kinds[trained.is_linear]} too"
        )
    for key in ("reference_mic", "target"):
        found, wanted = getattr(scene, key), getattr(description, key)
        if found != wanted:
            return (
                f"{key} is {found!r}, that of the model {wanted!r}; give scenes drawn with "
                f"scene.{key}={wanted}"
            )
    speakers, slots = len(scene.heard), description.num_slots
    if speakers > slots and description.model.heads.guidance == "oracle":
        return (
            f"has {speakers} speakers, the model is told the directions of {slots} at most; give "
            f"scenes of at most {slots} speakers"
        )
    if not description.model.frontend.any_array and array.positions != trained.positions:
        return (
            "its array is not the one that this model is bound to (model.frontend.name=ri); give "
            f"scenes of {trained.name!r}, or a model with another frontend"
        )
    return None


def _folders(estimates: str | Mapping[str, str] | None) -> dict[str, tuple[Path, str]]:
    """Folders of estimates by the names of their systems, and the key that each was given by."""
    if estimates is None or isinstance(estimates, str):
        return {} if estimates is None else {ESTIMATES: (Path(estimates), "estimates")}
    for name in estimates:
        if name in (*ALONE, MODEL) or not name or "+" in name:
            raise InputError(
                f"estimates.{name}: cannot be the name of a system; take one without a plus that "
                f"is none of {', '.join((MODEL, *ALONE))}"
            )
    return {name: (Path(folder), f"estimates.{name}") for name, folder in estimates.items()}


def _open_checkpoints(config: EvaluationConfig) -> dict[str, Checkpoint]:
    """Open the checkpoints, by name: `model`, or beside others the name of its run."""
    paths = config.checkpoint or ()
    paths = (paths,) if isinstance(paths, str) else paths
    folders = _folders(config.estimates)
    if not paths and not folders and config.scenes is None:
        raise InputError(
            "checkpoint: is needed; give checkpoint=VALUE, or estimates=FOLDER, or for baselines "
            "alone scenes=VALUE"
        )
    opened = [load_checkpoint(path, trust=config.trust) for path in paths]
    if len(opened) == 1 and not folders:
        return {MODEL: opened[0]}
    found: dict[str, Checkpoint] = {}
    for checkpoint in opened:
        name = name_of(checkpoint).replace("+", "-")
        names = chain([name], (f"{name}-{number}" for number in count(2)))
        taken = {*found, *folders, *ALONE, MODEL}
        found[next(free for free in names if free not in taken)] = checkpoint
    return found


def name_of(checkpoint: Checkpoint) -> str:
    """Return the name of a model that ships, or of the run that made it."""
    path, ships = checkpoint.path, checkpoint.path.resolve().parent == models_dir().resolve()
    return path.stem if ships else str(checkpoint.description.config.get("name") or path.stem)


def _open_scenes(
    config: EvaluationConfig, checkpoints: Mapping[str, Checkpoint]
) -> tuple[CorpusConfig, Corpus, tuple[Scene, ...]]:
    scenes: tuple[Scene, ...] | None = None
    if config.scenes is not None:
        scenes = read_scenes(scenes_file(config.scenes), list(_own_noise(checkpoints)))
        if config.num_scenes is not None and config.num_scenes > len(scenes):
            raise InputError(
                f"num_scenes={config.num_scenes}: scenes={config.scenes} has {len(scenes)}"
            )
        scenes = scenes[: config.num_scenes]
        if len({scene.microphone_array().is_linear for scene in scenes}) > 1:
            raise InputError(
                f"scenes={config.scenes}: has arrays on a line and others; their directions do not "
                "compare: evaluate them apart"
            )
    elif not checkpoints:
        raise InputError("scenes: is needed with estimates=; give the file that they were made for")
    corpus_config = config.corpus
    if corpus_config is None and config.scenes in benchmark_names():
        corpus_config = BundledConfig()
    if corpus_config is None and checkpoints:
        corpus_config = _training_of(next(iter(checkpoints.values()))).corpus
    corpus_config = corpus_config or BundledConfig()
    rates = {scene.sample_rate for scene in scenes or ()}
    if len(rates) > 1:
        raise InputError(f"scenes: are at {sorted(rates)} Hz; give scenes of one sample rate")
    rate = next(iter(rates), None) or next(iter(checkpoints.values())).description.sample_rate
    try:
        corpus = open_corpus(corpus_config, rate).split(config.split)
    except InputError as error:
        if config.corpus is not None or not checkpoints:
            raise
        first = next(iter(checkpoints.values()))  # its path was of another folder, say
        path = " corpus.path=FOLDER" if hasattr(corpus_config, "path") else ""
        raise InputError(
            f"checkpoint={first.path}: the corpus of its training cannot be opened from here "
            f"({error}); give corpus={getattr(corpus_config, 'name', 'FILE')}{path}"
        ) from error
    if scenes is None:
        scenes = _drawn(config, next(iter(checkpoints.values())), corpus)
    return corpus_config, corpus, scenes


def _own_noise(checkpoints: Mapping[str, Checkpoint]) -> Iterator[OwnPart]:
    """Yield the noise of users' own that checkpoints were trained with, which loading trusted."""
    for checkpoint in checkpoints.values():
        scene = checkpoint.description.config.get("scene") or {}
        if source := (scene.get("background") or {}).get("source"):
            yield OwnPart.model_validate(source)


def _drawn(config: EvaluationConfig, checkpoint: Checkpoint, corpus: Corpus) -> tuple[Scene, ...]:
    """The scenes of a split as training drew them."""
    training = _training_of(checkpoint)
    default = training.data.valid_scenes if config.split == "valid" else training.data.test_scenes
    return fixed_scenes(
        training.scene,
        training.array.build(),
        corpus,
        seed=training.data.eval_seed,
        split=config.split,
        count=config.num_scenes or default,
        sample_rate=training.sample_rate,
        seconds=training.data.eval_seconds,
    )


def _training_of(checkpoint: Checkpoint) -> TrainConfig:
    try:
        return parse(TrainConfig, checkpoint.description.config)
    except InputError as error:
        made_with = checkpoint.description.versions.get("msdet", "another version")
        raise InputError(
            f"checkpoint={checkpoint.path}: made with msdet {made_with}, whose training config "
            f"this version cannot read ({error}); give scenes= and corpus="
        ) from error


def _metrics_of(
    systems: Sequence[str],
    metrics: tuple[Metric, ...],
    config: EvaluationConfig,
    separated: Mapping[str, bool],
) -> dict[str, tuple[Metric, ...]]:
    """The metrics of each system: those that take long only of some.

    A metric that was named and that no audio is there for is refused; the mixture counts where it
    was named among the systems. SI-SDR, which is always computed, may ask for nothing else.
    """
    named = config.slow_metrics_of
    slow: Sequence[str] = [
        system
        for system in systems
        if system == "unprocessed" or system in separated or system.endswith("+mvdr")
    ]
    if named is not None:
        slow = choose_systems(named, separated) if named else ()
        if missing := [name for name in slow if name not in systems]:
            raise InputError(
                f"slow_metrics_of: {missing[0]!r} is not among systems={list(systems)}"
            )
    found = {
        system: metrics if system in slow else tuple(m for m in metrics if not say(m, "slow"))
        for system in systems
    }
    heard = [
        system
        for system in systems
        if system not in DIRECTIONS_ALONE
        and separated.get(system, True)
        and (system != "unprocessed" or system in (config.systems or ()))
    ]
    for metric in () if config.metrics is None else metrics:
        if metric.name != MATCHING.name and not any(metric in found[system] for system in heard):
            mend = f", or name some of {', '.join(heard)} in slow_metrics_of=" if heard else ""
            raise InputError(
                f"metrics: {metric.name!r} has no separated audio to be computed of; leave it "
                f"out{mend}"
            )
    return found


def scenes_hash(scenes: Sequence[Scene]) -> str:
    """Return a hash of all that was drawn about scenes."""
    digest = hashlib.sha256()
    for scene in scenes:
        digest.update(scene.model_dump_json().encode() + b"\n")
    return digest.hexdigest()
