# SPDX-License-Identifier: Apache-2.0
"""A training run, from its config to a scored model."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import seed_everything
from rich.console import Console

from msdet.checkpoints import (
    Description,
    git_commit,
    load_checkpoint,
    load_matching_weights,
    versions,
)
from msdet.config import EvaluationConfig, TrainConfig
from msdet.corpora import Corpus, open_corpus
from msdet.criteria.assignment import BY_LOCATION, check_assignment
from msdet.data_module import Sources, build_data, open_sources
from msdet.errors import InputError
from msdet.evaluation import pictures
from msdet.evaluation.evaluate import evaluate, print_tables, write_json
from msdet.geometry import MicrophoneArray
from msdet.memory import PeakMemory, keep_freed_pages
from msdet.models.msdet import MSDET, trained_tasks
from msdet.run_folder import (
    SUMMARY_NAME,
    TRAINED_NAME,
    check_same_mixtures,
    is_first_process,
    is_unfinished,
    keep_identity,
    prepare_folder,
)
from msdet.simulation import check_scene_config
from msdet.simulation.recordings import open_recordings
from msdet.training import fit


def train(config: TrainConfig) -> dict[str, Any]:
    """Train, and evaluate if asked; returns what ``summary.json`` holds.

    The same config and output folder go on where a stopped run was; after a finished run the old
    folder is kept under a numbered name.

    Raises:
        InputError: something in the config cannot be done; before any work.
    """
    array = config.array.build()
    check(config, array)
    corpus = open_corpus(config.corpus, config.sample_rate)
    for split in ("train", "valid", "test"):
        corpus.split(split)
    folder = Path(config.output)
    model = build_model(config, array)
    check_parts(config.trainer.freeze, model)
    if config.init_from is not None and not is_unfinished(folder):
        load_matching_weights(model, config.init_from)
    sources = open_sources(config, array)
    if sources.mixtures is not None and is_unfinished(folder):
        check_same_mixtures(config, folder, sources.mixtures)
    if is_first_process():
        prepare_folder(folder, config)
        if sources.mixtures is not None:
            keep_identity(folder, sources.mixtures)
    trained = folder / TRAINED_NAME
    if not trained.exists():
        measured = _fit(config, array, corpus, model, folder, sources)
        if not is_first_process():
            return {}
        write_json(trained, measured)
    return _summarise(config, folder, json.loads(trained.read_text()))


def _fit(
    config: TrainConfig,
    array: MicrophoneArray,
    corpus: Corpus,
    model: MSDET,
    folder: Path,
    sources: Sources,
) -> dict[str, float]:
    def describe(metrics: dict[str, Any], training: dict[str, Any]) -> Description:
        return _describe(config, array, metrics, training)

    keep_freed_pages()
    with PeakMemory() as memory:
        data = build_data(config, array, corpus, sources)
        _announce(config, model)
        measured = fit(config, folder, model, data, describe, memory)
    if is_first_process():
        _draw_curves(folder)
    return measured


def build_model(config: TrainConfig, array: MicrophoneArray) -> MSDET:
    """The network with its seeded random weights."""
    seed_everything(config.seed, verbose=False)
    slots = config.scene.num_speakers[1]
    tasks = trained_tasks(config.criterion.weight)
    return MSDET(config.model, array, config.sample_rate, slots, config.scene.reference_mic, tasks)


def check(config: TrainConfig, array: MicrophoneArray) -> None:
    """Refuse what cannot be trained, before any work.

    Raises:
        InputError: names the key, its value and what would be possible.
    """
    check_scene_config(config.scene, array)
    check_assignment(config.criterion.assignment, array.is_linear)
    if config.trainer.accelerator == "gpu" and not torch.cuda.is_available():
        raise InputError("trainer.accelerator='gpu': torch finds none here; give 'auto' or 'cpu'")
    fewest, most = config.scene.num_speakers
    if fewest != most:
        raise InputError(
            f"scene.num_speakers=[{fewest}, {most}]: training needs the same number in every "
            f"scene, since every slot must have a speaker; give [{most}, {most}]"
        )
    data = config.data
    shared = data.simulated is None and (data.bank is not None or data.train_rooms is not None)
    if data.fresh_rooms and not shared:
        which = "data.simulated" if data.simulated is not None else "data.train_rooms=null"
        raise InputError(f"data.fresh_rooms={data.fresh_rooms}: has no meaning with {which}")
    if config.scene.background.recordings is not None:
        longest = max(data.crop_seconds, data.eval_seconds)
        recordings = open_recordings(config.scene.background.recordings, config.sample_rate)
        recordings.at_least(round(longest * config.sample_rate))
    if data.batch_size > data.examples_per_epoch:
        raise InputError(
            f"data.examples_per_epoch={data.examples_per_epoch}: less than one batch "
            f"(data.batch_size={data.batch_size})"
        )
    for key in ("crop_seconds", "eval_seconds"):
        seconds = getattr(data, key)
        if seconds * config.sample_rate < config.model.stft.window:
            raise InputError(
                f"data.{key}={seconds}: shorter than the STFT window of "
                f"{config.model.stft.window} samples at {config.sample_rate} Hz"
            )
    oracle = config.model.heads.guidance == "oracle"
    assignment = config.criterion.assignment
    if oracle and assignment not in BY_LOCATION:
        raise InputError(
            f"criterion.assignment={assignment!r} with model.heads.guidance='oracle': outputs "
            "decide the order, but guidance needs it beforehand; choose an assignment by location"
        )


def check_parts(freeze: Sequence[str], model: MSDET) -> None:
    """Refuse to freeze what the network does not have, or all of it.

    Raises:
        InputError: names the part and those that there are.
    """
    parts = [name for name, part in model.named_children() if any(True for _ in part.parameters())]
    for part in freeze:
        if part not in parts:
            raise InputError(f"trainer.freeze: there is no part {part!r}; there are {parts}")
    if set(parts) <= set(freeze):
        raise InputError("trainer.freeze: names every part of the network; nothing would train")


def _describe(
    config: TrainConfig, array: MicrophoneArray, metrics: dict[str, Any], training: dict[str, Any]
) -> Description:
    return Description(
        model=config.model,
        num_slots=config.scene.num_speakers[1],
        array=array,
        reference_mic=config.scene.reference_mic,
        sample_rate=config.sample_rate,
        target=config.scene.target,
        assignment=config.criterion.assignment,
        nearest_gap=config.criterion.nearest_gap,
        weight=config.criterion.weight,
        config=config.model_dump(mode="json"),
        metrics={key: value for key, value in metrics.items() if isinstance(value, int | float)},
        training=training,
        versions=versions(),
        git_commit=git_commit(),
    )


def _announce(config: TrainConfig, model: MSDET) -> None:
    """Parameters and multiply-accumulates, before the first step."""
    weights = sum(p.numel() for p in model.parameters())
    macs = count_macs(model)
    Console(stderr=True).print(
        f"{config.name}: {weights / 1e6:.3f} M weights, {macs / 1e9:.2f} G multiply-accumulates "
        f"per second of audio ({model.array.num_mics} microphones, {config.sample_rate} Hz)"
    )


def count_macs(model: MSDET) -> int:
    """Multiply-accumulates for one second of audio, as torch counts floating-point operations."""
    from torch.utils.flop_counter import FlopCounterMode

    was_training = model.training
    model.eval()
    mixture = torch.zeros(1, model.array.num_mics, model.sample_rate)
    azimuth = torch.zeros(1, model.num_slots)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(mixture, azimuth=azimuth if model.config.heads.guidance == "oracle" else None)
    model.train(was_training)
    return int(counter.get_total_flops()) // 2


def _draw_curves(folder: Path) -> None:
    history = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    pictures_folder = folder / "pictures"
    pictures_folder.mkdir(exist_ok=True)
    kept = ("train_seconds", "loss", "valid_si_sdr", "valid_azimuth")
    rows = [{k: v for k, v in row.items() if any(part in k for part in kept)} for row in history]
    for row in rows:
        row["seconds"] = row.pop("train_seconds")
    pictures.training_curves(rows, pictures_folder / "training.png")


def _summarise(config: TrainConfig, folder: Path, measured: dict[str, Any]) -> dict[str, Any]:
    checkpoint = folder / "model.ckpt"
    if not config.evaluate:
        summary = {**measured, "valid": load_checkpoint(checkpoint).description.metrics}
        write_json(folder / SUMMARY_NAME, summary)
        return summary
    evaluation = EvaluationConfig(
        checkpoint=str(checkpoint),
        output=str(folder),
        scenes=None,
        split="test",
        num_scenes=None,
        corpus=None,
        metrics=None,
        num_workers=None,
        pictures=4,
        cache=config.data.cache,
    )
    summary = evaluate(evaluation, measured)
    print_tables(summary)
    return summary
