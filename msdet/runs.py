# SPDX-License-Identifier: Apache-2.0
"""A training run: its folder, whether it goes on or starts anew, from config to scored model."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import seed_everything
from lightning.pytorch.utilities import rank_zero_only
from omegaconf import OmegaConf
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
from msdet.criteria.assignment import check_assignment
from msdet.data_module import MixtureData
from msdet.datasets import FixedScenes, TrainingExamples
from msdet.errors import InputError
from msdet.evaluation import pictures
from msdet.evaluation.evaluate import evaluate, print_tables, write_json
from msdet.geometry import MicrophoneArray
from msdet.memory import PeakMemory, keep_freed_pages
from msdet.models.msdet import MSDET
from msdet.simulation import RirBank, check_scene_config, fixed_scenes, rirs_folder
from msdet.training import fit
from msdet.workers import available_cores

CONFIG_NAME = "config.yaml"
SUMMARY_NAME = "summary.json"
TRAINED_NAME = "trained.json"
LAST_NAME = "last.ckpt"
_MAY_DIFFER = {
    "output",
    "logger",
    "evaluate",
    "init_from",
    "data.num_workers",
    "data.prefetch",
    "data.cache",
}
"""Keys that a resumed run may change: none of them shapes the rest of its training."""


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
    if _is_first_process():
        prepare_folder(folder, config)
    trained = folder / TRAINED_NAME
    if not trained.exists():
        measured = _fit(config, array, corpus, model, folder)
        if not _is_first_process():
            return {}
        write_json(trained, measured)
    return _summarise(config, folder, json.loads(trained.read_text()))


def _fit(
    config: TrainConfig, array: MicrophoneArray, corpus: Corpus, model: MSDET, folder: Path
) -> dict[str, float]:
    def describe(metrics: dict[str, Any], training: dict[str, Any]) -> Description:
        return _describe(config, array, metrics, training)

    keep_freed_pages()
    with PeakMemory() as memory:
        data = build_data(config, array, corpus)
        _announce(config, model)
        measured = fit(config, folder, model, data, describe, memory)
    if _is_first_process():
        _draw_curves(folder)
    return measured


def build_model(config: TrainConfig, array: MicrophoneArray) -> MSDET:
    """The network with its seeded random weights."""
    seed_everything(config.seed, verbose=False)
    slots = config.scene.num_speakers[1]
    return MSDET(config.model, array, config.sample_rate, slots, config.scene.reference_mic)


def build_data(config: TrainConfig, array: MicrophoneArray, corpus: Corpus) -> MixtureData:
    """Training examples and valid scenes, their room responses on disk."""
    bank = RirBank(rirs_folder(config.data.cache), array, config.sample_rate)
    training = TrainingExamples(
        config.scene,
        array,
        corpus.split("train"),
        bank,
        seed=config.seed,
        sample_rate=config.sample_rate,
        num_samples=round(config.data.crop_seconds * config.sample_rate),
        length=config.data.examples_per_epoch,
        rooms=config.data.train_rooms,
    )
    valid_corpus = corpus.split("valid")
    scenes = fixed_scenes(
        config.scene,
        array,
        valid_corpus,
        seed=config.data.eval_seed,
        split="valid",
        count=config.data.valid_scenes,
        sample_rate=config.sample_rate,
        seconds=config.data.eval_seconds,
    )
    if _is_first_process():
        rooms = [*training.pool(), *(scene.room for scene in scenes)]
        bank.fill(rooms, available_cores())
    return MixtureData(config.data, training, FixedScenes(scenes, valid_corpus, bank))


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
    if oracle and config.criterion.assignment == "pit":
        raise InputError(
            "criterion.assignment='pit' with model.heads.guidance='oracle': outputs decide the "
            "order, but guidance needs it beforehand; choose an assignment by location"
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


def is_unfinished(folder: Path) -> bool:
    """Whether a run got as far as its first checkpoint there, and not to its end."""
    return (folder / LAST_NAME).exists() and not (folder / SUMMARY_NAME).exists()


def prepare_folder(folder: Path, config: TrainConfig) -> None:
    """Leave ``folder`` ready for this run: its own unfinished state, or empty.

    Raises:
        InputError: it is a file, holds something else, or an unfinished run of another config.
    """
    mend = "choose another output="
    if folder.exists() and not folder.is_dir():
        raise InputError(f"output={folder}: is a file; {mend}")
    wanted = config.model_dump(mode="json")
    stored = folder / CONFIG_NAME
    if stored.exists():
        if (folder / SUMMARY_NAME).exists():
            kept = _numbered(folder)
            folder.rename(kept)
            Console(stderr=True).print(f"the finished run is kept as {kept}")
        elif is_unfinished(folder):
            difference = _first_difference(_stored_config(stored), wanted)
            if difference:
                raise InputError(
                    f"output={folder}: holds an unfinished run of another config ({difference}); "
                    f"give that config to go on with it, or {mend}"
                )
            load_checkpoint(folder / LAST_NAME)  # refuses one that this version cannot go on from
            Console(stderr=True).print(f"going on with the unfinished run in {folder}")
    elif folder.exists() and any(folder.iterdir()):
        raise InputError(f"output={folder}: is not empty and holds no run; {mend}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        temporary = folder / f".{CONFIG_NAME}.part"
        OmegaConf.save(OmegaConf.create(wanted), temporary)
        temporary.replace(stored)
    except OSError as error:
        raise InputError(f"output={folder}: cannot be written ({error.strerror})") from error


def _stored_config(path: Path) -> Any:
    try:
        return OmegaConf.to_container(OmegaConf.load(path))
    except Exception as error:  # of PyYAML's and OmegaConf's many, and an empty file
        raise InputError(f"{path}: cannot be read; choose another output=") from error


def _is_first_process() -> bool:
    """Of all machines: by Lightning's reading of RANK, LOCAL_RANK, SLURM_PROCID, or NODE_RANK."""
    rank: int = getattr(rank_zero_only, "rank", 0)
    return rank == 0 and int(os.environ.get("NODE_RANK", 0)) == 0


def _numbered(folder: Path) -> Path:
    number = 1
    while (candidate := folder.with_name(f"{folder.name}.{number}")).exists():
        number += 1
    return candidate


def _first_difference(found: Any, wanted: Any, where: str = "") -> str:
    if where in _MAY_DIFFER:
        return ""
    if isinstance(found, dict) and isinstance(wanted, dict):
        for key in {**found, **wanted}:
            inner = f"{where}.{key}" if where else str(key)
            if difference := _first_difference(found.get(key), wanted.get(key), inner):
                return difference
        return ""
    return "" if found == wanted else f"{where} was {found!r}, is {wanted!r}"


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
