# SPDX-License-Identifier: Apache-2.0
"""From a checkpoint to a report: every scene is rendered, separated and scored, row by row."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from msdet.checkpoints import Checkpoint, load_checkpoint
from msdet.config import EvaluationConfig, TrainConfig, parse
from msdet.corpora import Corpus, open_corpus
from msdet.datasets import fixed_scenes, rirs_folder
from msdet.errors import InputError
from msdet.evaluation.gallery import draw_gallery
from msdet.evaluation.rows import Row, RowsHeader, RowWriter
from msdet.evaluation.scoring import SceneScorer, Task
from msdet.evaluation.signal_metrics import choose_metrics
from msdet.evaluation.statistics import summarise
from msdet.evaluation.tables import result_tables
from msdet.memory import PeakMemory
from msdet.simulation import RirBank, Scene, check_corpus, read_scenes


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
        _score_all(
            task, [s for s in scenes if s.index not in writer.done], writer, config.num_workers
        )
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
        speakers, slots = len(scene.speech), description.num_slots
        if speakers > slots:
            raise InputError(f"{where}: has {speakers} speakers, the model has {slots} slots")
        if (
            description.model.frontend.name == "ri"
            and scene.array.positions != description.array.positions
        ):
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
        seed=training.seed,
        split=config.split,
        count=config.num_scenes or default,
        sample_rate=training.sample_rate,
        seconds=training.data.eval_seconds,
    )


def _training_of(checkpoint: Checkpoint) -> TrainConfig:
    return parse(TrainConfig, checkpoint.description.config)


def _fill_banks(scenes: Sequence[Scene], folder: Path, num_workers: int | None) -> None:
    arrays: dict[str, list[Scene]] = {}
    for scene in scenes:
        arrays.setdefault(json.dumps(scene.array.positions), []).append(scene)
    for group in arrays.values():
        bank = RirBank(folder, group[0].microphone_array(), group[0].sample_rate)
        bank.fill((s.room for s in group), num_workers or os.cpu_count() or 1)


_scorer: SceneScorer | None = None


def _start_worker(task: Task) -> None:
    global _scorer
    torch.set_num_threads(1)
    _scorer = SceneScorer(task)


def _score(scene: Scene) -> Row:
    assert _scorer is not None
    return _scorer.score(scene)


def _score_all(
    task: Task, scenes: Sequence[Scene], writer: RowWriter, num_workers: int | None
) -> None:
    if not scenes:
        return
    workers = min(num_workers or os.cpu_count() or 1, len(scenes))
    columns = (TextColumn("scoring"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    pool = ProcessPoolExecutor(workers, get_context("spawn"), _start_worker, (task,))
    try:
        with Progress(*columns, console=Console(stderr=True)) as bar:
            bar_id = bar.add_task("", total=len(scenes))
            for done in as_completed([pool.submit(_score, scene) for scene in scenes]):
                writer.add(done.result())
                bar.advance(bar_id)
    finally:
        pool.shutdown(cancel_futures=True)


def _file_hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _text_hash(lines: Any) -> str:
    digest = hashlib.sha256()
    for line in lines:
        digest.update(line.encode() + b"\n")
    return digest.hexdigest()
