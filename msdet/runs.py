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
from msdet.criteria.assignment import BY_LOCATION, NEEDS, check_assignment
from msdet.criteria.balancing import check_balancing
from msdet.data_module import Sources, build_data, open_sources
from msdet.datasets import Label
from msdet.errors import InputError
from msdet.evaluation import pictures
from msdet.evaluation.evaluate import evaluate, print_tables, write_json
from msdet.geometry import MicrophoneArray
from msdet.memory import PeakMemory, keep_freed_pages
from msdet.models.msdet import MSDET, Task, trained_tasks
from msdet.run_folder import (
    SUMMARY_NAME,
    TRAINED_NAME,
    check_same_mixtures,
    is_first_process,
    is_unfinished,
    keep_identities,
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
    _check_labels(config, sources)
    if is_unfinished(folder):
        check_same_mixtures(folder, sources.identities(config.data))
    if is_first_process():
        prepare_folder(folder, config)
        keep_identities(folder, sources.identities(config.data))
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
    fewest, most = config.scene.num_speakers
    return MSDET(
        config.model,
        array,
        config.sample_rate,
        num_slots=most,
        reference_mic=config.scene.reference_mic,
        tasks=trained_tasks(config.criterion.weight, config.criterion.distance_weight),
        empty_slots=fewest < most,
    )


def check(config: TrainConfig, array: MicrophoneArray) -> None:
    """Refuse what cannot be trained, before any work.

    Raises:
        InputError: names the key, its value and what would be possible.
    """
    check_scene_config(config.scene, array)
    check_assignment(config.criterion.assignment, array.is_linear)
    _check_tasks(config)
    if config.trainer.accelerator == "gpu" and not torch.cuda.is_available():
        raise InputError("trainer.accelerator='gpu': torch finds none here; give 'auto' or 'cpu'")
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


def _check_tasks(config: TrainConfig) -> None:
    criterion, model, trainer = config.criterion, config.model, config.trainer
    if config.scene.num_speakers[1] < 2:
        raise InputError(
            f"scene.num_speakers={list(config.scene.num_speakers)}: training needs scenes of up to "
            "2 speakers or more, there is nothing to separate in the others"
        )
    tasks = trained_tasks(criterion.weight, criterion.distance_weight)
    if ("distance" in tasks) != (model.heads.distance != "none"):
        raise InputError(
            f"criterion.distance_weight={criterion.distance_weight:g} with "
            f"model.heads.distance={model.heads.distance!r}: a distance head (regression or "
            "classes) goes with a weight above 0, and none with 0"
        )
    if model.sharing != "hard" and len(tasks) < 2:
        raise InputError(
            f"model.sharing={model.sharing!r} with {tasks[0]} alone: there is nothing to share "
            "or to part; give 'hard', or train two tasks"
        )
    if criterion.sharing_strength > 0 and model.sharing != "soft":
        raise InputError(
            f"criterion.sharing_strength={criterion.sharing_strength:g} with "
            f"model.sharing={model.sharing!r}: is the strength of 'soft' sharing only"
        )
    check_balancing(
        criterion.balancing,
        tasks,
        strategy=trainer.strategy,
        devices=trainer.devices,
        num_nodes=trainer.num_nodes,
        precision=trainer.precision,
        sharing=model.sharing,
        compile=trainer.compile,
        accelerator=trainer.accelerator,
        freeze=trainer.freeze,
    )


def _check_labels(config: TrainConfig, sources: Sources) -> None:
    """Refuse a task that no example has labels for, and an assignment that some lack them for."""
    criterion, where = config.criterion, f"data.labelled={config.data.labelled}"
    task_labels: dict[Task, Label] = {
        "separation": "targets",
        "direction": "azimuth",
        "distance": "distance",
    }
    for task in trained_tasks(criterion.weight, criterion.distance_weight):
        if (label := task_labels[task]) not in sources.any_labels:
            key = "distance_weight" if task == "distance" else "weight"
            raise InputError(
                f"criterion.{key}={getattr(criterion, key):g}: trains {task}, but no example has "
                f"{label}: {where} lists none; change this weight, or train with simulated "
                "examples too (data.labelled_share below 1)"
            )
    needed = NEEDS[criterion.assignment]
    if config.model.heads.guidance == "oracle":
        needed |= {"azimuth"}
    if lacking := sorted(needed - sources.labels):
        possible = [name for name, labels in NEEDS.items() if labels <= sources.labels]
        raise InputError(
            f"criterion.assignment={criterion.assignment!r}: needs every example's "
            f"{' and '.join(lacking)}, which some of {where} lack; choose from "
            f"{', '.join(possible)}"
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
        distance_weight=config.criterion.distance_weight,
        empty_slots=config.scene.num_speakers[0] < config.scene.num_speakers[1],
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
    rows = [
        {k: v for k, v in row.items() if any(p in k for p in kept) and "best_matched" not in k}
        for row in history
    ]
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
