# SPDX-License-Identifier: Apache-2.0
"""From a checkpoint to a report: every scene is rendered, separated and scored, row by row."""

from __future__ import annotations

import hashlib
import json
import math
import os
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from msdet.audio import write_audio
from msdet.checkpoints import Checkpoint, load_checkpoint
from msdet.config import EvaluationConfig, TrainConfig, parse
from msdet.corpora import Corpus, CorpusConfig, Split, open_corpus
from msdet.criteria.assignment import BY_LOCATION, Assignment, assign_by_location
from msdet.datasets import Batch, fixed_scenes, rirs_folder
from msdet.errors import InputError
from msdet.evaluation import pictures
from msdet.evaluation.metrics import SpeakerScore, choose_metrics, score_scene
from msdet.evaluation.rows import Row, RowsHeader, RowWriter, SceneLabels
from msdet.evaluation.statistics import result_tables, summarise
from msdet.memory import PeakMemory
from msdet.models.msdet import Output
from msdet.simulation import Example, RirBank, Scene, check_corpus, read_scenes, render


@dataclass(frozen=True)
class Task:
    """What a worker process needs to score scenes; sent once to each."""

    checkpoint: Path
    corpus: CorpusConfig
    split: Split
    bank: Path
    metrics: tuple[str, ...]


class SceneScorer:
    """Renders, separates and scores scenes with one model, on one thread.

    Each scene is a batch of its own, so that a row does not depend on its neighbours or on the
    number of processes.
    """

    def __init__(self, task: Task) -> None:
        self.task = task
        self.checkpoint: Checkpoint = load_checkpoint(task.checkpoint)
        description = self.checkpoint.description
        corpus = open_corpus(task.corpus, description.sample_rate)
        self.corpus: Corpus = corpus.split(task.split)
        self.banks: dict[str, RirBank] = {}

    @torch.inference_mode()
    def separate(self, scene: Scene) -> tuple[Example, Output]:
        """The rendered example and the model's output, as a batch of one."""
        array = scene.microphone_array()
        key = json.dumps(scene.array.positions)
        if key not in self.banks:
            self.banks[key] = RirBank(self.task.bank, array, scene.sample_rate)
        example = render(scene, self.corpus, self.banks[key].get(scene.room))
        batch = Batch.stack([example])
        azimuth = None
        if self.checkpoint.description.model.heads.guidance == "oracle":
            order = prescribed_order(self.checkpoint.description.assignment, batch)
            azimuth = batch.azimuth[:, list(order)] if order else None
        return example, self.checkpoint.model(batch.mixture, array, azimuth)

    def score(self, scene: Scene) -> Row:
        """The row of one scene."""
        example, output = self.separate(scene)
        description = self.checkpoint.description
        order = prescribed_order(description.assignment, Batch.stack([example]))
        azimuth = self.checkpoint.model.grid.decode(output.azimuth_logits[0].softmax(-1))
        return Row(
            index=scene.index,
            id=scene.id,
            labels=SceneLabels(
                t60=example.t60 if math.isfinite(example.t60) else None,
                snr_db=scene.noise.snr_db,
                distance=tuple(s.distance for s in scene.room.speakers),
            ),
            score=score_scene(
                output.audio[0].numpy(),
                example.targets,
                example.mixture[scene.reference_mic],
                None if description.weight == 1 else azimuth.numpy(),
                example.azimuth,
                sample_rate=scene.sample_rate,
                order=order,
                metrics=self.task.metrics,
            ),
        )


def prescribed_order(assignment: Assignment, batch: Batch) -> tuple[int, ...] | None:
    """Which speaker each slot must hold, of a batch of one; None where outputs decide."""
    if assignment not in BY_LOCATION:
        return None
    order = assign_by_location(assignment, batch.azimuth, batch.distance, batch.elevation)
    return tuple(order[0].tolist())


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
            _draw(output, task, scenes, rows, config.pictures)
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


def _draw(
    output: Path, task: Task, scenes: Sequence[Scene], rows: Sequence[Row], count: int
) -> None:
    """Pictures and audio of scenes spread evenly from the worst to the best, and of all angles."""
    (output / "pictures").mkdir(exist_ok=True)
    (output / "audio").mkdir(exist_ok=True)
    scorer = SceneScorer(task)
    by_index = {scene.index: scene for scene in scenes}
    gains = [(gain, row.index, row) for row in rows if (gain := _improvement(row)) is not None]
    ranked = [row for _, _, row in sorted(gains, key=lambda entry: entry[:2])]
    places = np.linspace(0, len(ranked) - 1, min(count, len(ranked))).round().astype(int)
    for row in (ranked[place] for place in dict.fromkeys(places.tolist())):
        _draw_scene(output, scorer, by_index[row.index], row)
    _draw_angles(output / "pictures", rows, scorer.checkpoint.description.array.is_linear)


def _draw_scene(output: Path, scorer: SceneScorer, scene: Scene, row: Row) -> None:
    """Spectrograms, directions and WAVs of one scene, estimates beside their speakers."""
    example, result = scorer.separate(scene)
    scored = [(s, s.slot) for s in row.score.speakers if s.slot is not None]
    slots, speakers = [slot for _, slot in scored], [s.speaker for s, _ in scored]
    estimates, targets = result.audio[0].numpy()[slots], example.targets[speakers]
    mixture, rate = example.mixture[scene.reference_mic], scene.sample_rate
    pictures.spectrograms(
        mixture,
        estimates,
        targets,
        rate,
        output / "pictures" / f"{scene.id}-spectrograms.png",
        titles=[_spectrogram_title(s) for s, _ in scored],
    )
    if scorer.checkpoint.description.weight < 1:
        posteriors = result.azimuth_logits[0].softmax(-1)[slots]
        pictures.polar_plot(
            example.azimuth[speakers],
            example.distance[speakers],
            scorer.checkpoint.model.grid.decode(posteriors).numpy(),
            output / "pictures" / f"{scene.id}-directions.png",
            posteriors=posteriors.numpy(),
            linear_array=scene.microphone_array().is_linear,
            title=scene.id,
        )
    scale = 0.9 / max(float(np.abs(x).max()) for x in (mixture, estimates, targets))
    stem = output / "audio" / scene.id
    write_audio(f"{stem}-mixture.wav", mixture * scale, rate)
    for number, estimate, target in zip(speakers, estimates, targets, strict=True):
        write_audio(f"{stem}-speaker{number + 1}-estimate.wav", estimate * scale, rate)
        write_audio(f"{stem}-speaker{number + 1}-target.wav", target * scale, rate)


def _spectrogram_title(speaker: SpeakerScore) -> str:
    before, after = speaker.scores["si_sdr_unprocessed"], speaker.scores["si_sdr"]
    known = before is not None and after is not None
    return f"speaker {speaker.speaker + 1}" + (f"\n{before:.1f} to {after:.1f} dB" if known else "")


def _draw_angles(folder: Path, rows: Sequence[Row], linear: bool) -> None:
    claimed = [
        (s.azimuth, s.azimuth_estimate, s.azimuth_error, s.azimuth_error_best_matched)
        for row in rows
        for s in row.score.speakers
        if s.azimuth_estimate is not None
    ]
    if claimed:
        truth, estimate, error, best = np.array(claimed, dtype=float).T
        pictures.azimuth_scatter(truth, estimate, folder / "azimuths.png", linear_array=linear)
        pictures.error_histogram(error, folder / "azimuth-errors.png", best_matched=best)


def _improvement(row: Row) -> float | None:
    values = [s.scores.get("si_sdr_improvement") for s in row.score.speakers]
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _file_hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _text_hash(lines: Any) -> str:
    digest = hashlib.sha256()
    for line in lines:
        digest.update(line.encode() + b"\n")
    return digest.hexdigest()
