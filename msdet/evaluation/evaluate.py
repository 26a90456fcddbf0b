# SPDX-License-Identifier: Apache-2.0
"""From a checkpoint to a report: every scene is rendered, separated and scored, row by row."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from msdet.checkpoints import Checkpoint, load_checkpoint
from msdet.config import EvaluationConfig, TrainConfig, parse
from msdet.corpora import Corpus, open_corpus
from msdet.errors import InputError
from msdet.evaluation.gallery import draw_gallery
from msdet.evaluation.rows import Row, RowsHeader, RowWriter
from msdet.evaluation.scoring import SceneScorer, Task
from msdet.evaluation.signal_metrics import choose_metrics
from msdet.evaluation.statistics import summarise
from msdet.evaluation.tables import result_tables
from msdet.memory import PeakMemory
from msdet.simulation import (
    RirBank,
    Scene,
    check_corpus,
    fixed_scenes,
    read_scenes,
    rirs_folder,
)
from msdet.workers import available_cores, in_processes


def evaluate(config: EvaluationConfig, training: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Score a checkpoint; returns what ``summary.json`` holds.

    Goes on where a killed evaluation of the same checkpoint and scenes stopped.

    Args:
        training: what the training run measured of itself; None takes what the checkpoint says.
    Raises:
        InputError: a file is missing or damaged, or the scenes do not fit the model.
    """
    started = time.perf_counter()
    output = Path(config.output)
    if output.exists() and not output.is_dir():
        raise InputError(f"output={output}: is a file; name a folder")
    checkpoint = load_checkpoint(config.checkpoint)
    metrics, unavailable = choose_metrics(config.metrics)
    corpus_config = config.corpus or _training_of(checkpoint).corpus
    corpus = open_corpus(corpus_config, checkpoint.description.sample_rate).split(config.split)
    scenes = _scenes(config, checkpoint, corpus)
    check_scenes(scenes, checkpoint)
    check_corpus(scenes, corpus)
    header = RowsHeader(
        checkpoint=_file_hash(Path(config.checkpoint)),
        scenes=_text_hash(scene.model_dump_json() for scene in scenes),
        metrics=metrics,
    )
    bank = rirs_folder(config.cache)
    task = Task(Path(config.checkpoint), corpus_config, config.split, bank, metrics)
    with PeakMemory() as memory, RowWriter(output, header) as writer:
        _fill_banks(scenes, bank, config.num_workers)
        left = [scene for scene in scenes if scene.index not in writer.done]
        for row in in_processes(
            _scorer,
            task,
            left,
            num_workers=config.num_workers,
            title="scoring",
            done=len(scenes) - len(left),
        ):
            writer.add(row)
        rows = writer.rows
        if config.pictures:
            draw_gallery(output, SceneScorer(task), scenes, rows, config.pictures)
    description = checkpoint.description
    summary = summarise(rows, linear_array=description.array.is_linear, unavailable=unavailable)
    measured = dict(description.training if training is None else training)
    measured["peak_rss_gb"] = max(memory.peak_gb, measured.get("peak_rss_gb", 0.0))
    summary |= measured
    summary["evaluation_seconds"] = round(time.perf_counter() - started, 1)
    summary["checkpoint"] = str(config.checkpoint)
    write_json(output / "summary.json", summary)
    return summary


def print_tables(summary: dict[str, Any]) -> None:
    """The summary as tables on the screen."""
    console = Console()
    for table in result_tables(summary):
        console.print(table)


def check_scenes(scenes: Sequence[Scene], checkpoint: Checkpoint) -> None:
    """Refuse scenes that the model cannot be scored on."""
    description = checkpoint.description
    for scene in scenes:
        where = f"scene {scene.id}"
        if scene.sample_rate != description.sample_rate:
            raise InputError(
                f"{where}: is at {scene.sample_rate} Hz, the model at {description.sample_rate} Hz"
            )
        array, trained = scene.microphone_array(), description.array
        if array.is_linear != trained.is_linear:
            kinds = ("not linear", "linear")
            raise InputError(
                f"{where}: its array {array.name!r} is {kinds[array.is_linear]}, that of the model "
                f"{kinds[trained.is_linear]}"
            )
        for key in ("reference_mic", "target"):
            found, wanted = getattr(scene, key), getattr(description, key)
            if found != wanted:
                raise InputError(f"{where}: {key} is {found!r}, that of the model {wanted!r}")
        speakers, slots = len(scene.speech), description.num_slots
        if speakers > slots:
            raise InputError(f"{where}: has {speakers} speakers, the model has {slots} slots")
        if description.model.frontend.name == "ri" and array.positions != trained.positions:
            raise InputError(f"{where}: its array is not the one that this model is bound to (ri)")


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write under a temporary name, then rename."""
    temporary = path.with_name(f".{path.name}.part")
    temporary.write_text(json.dumps(content, indent=2) + "\n")
    os.replace(temporary, path)


def _scenes(config: EvaluationConfig, checkpoint: Checkpoint, corpus: Corpus) -> Sequence[Scene]:
    if config.scenes is not None:
        scenes = read_scenes(config.scenes)
        return scenes[: config.num_scenes] if config.num_scenes else scenes
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


def _fill_banks(scenes: Sequence[Scene], folder: Path, num_workers: int | None) -> None:
    arrays: dict[str, list[Scene]] = {}
    for scene in scenes:
        arrays.setdefault(json.dumps(scene.array.positions), []).append(scene)
    for group in arrays.values():
        bank = RirBank(folder, group[0].microphone_array(), group[0].sample_rate)
        bank.fill((s.room for s in group), num_workers or available_cores())


def _scorer(task: Task) -> Callable[[Scene], Row]:
    return SceneScorer(task).score


def _file_hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _text_hash(lines: Any) -> str:
    digest = hashlib.sha256()
    for line in lines:
        digest.update(line.encode() + b"\n")
    return digest.hexdigest()
