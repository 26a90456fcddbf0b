# SPDX-License-Identifier: Apache-2.0
"""A training run, from its config to a trained network."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import torch
from rich.console import Console

from msdet.checkpoints import Description, load_matching_weights
from msdet.corpora import Corpus, open_corpus
from msdet.criteria import Criterion
from msdet.files import read_json, write_json
from msdet.geometry import MicrophoneArray
from msdet.memory import PeakMemory, keep_freed_pages
from msdet.models.msdet import MSDET
from msdet.provenance import git_commit, versions
from msdet.tasks import trained_tasks
from msdet.training.checks import check, check_labels, check_memory, check_parts
from msdet.training.config import TrainConfig
from msdet.training.data import Opened, build_data, open_examples
from msdet.training.fit import fit
from msdet.training.preflight import preflight
from msdet.training.run_folder import (
    TRAINED_NAME,
    check_same_mixtures,
    is_unfinished,
    keep_identities,
    prepare_folder,
)


class Prepared(NamedTuple):
    """Parts that a run starts from."""

    array: MicrophoneArray
    corpus: Corpus
    model: MSDET
    criterion: Criterion
    opened: Opened


def prepare(config: TrainConfig) -> Prepared:
    """Check all that can be known before a run, and open what it needs; writes nothing.

    Raises:
        InputError: names the key, what it holds and what it may hold.
    """
    array = config.array.build()
    criterion = check(config, array)
    corpus = open_corpus(config.corpus, config.sample_rate)
    for split in ("train", "valid", "test"):
        corpus.split(split)
    model = build_model(config, array)
    check_parts(config, model)
    if config.init_from is not None and not is_unfinished(Path(config.output)):
        load_matching_weights(model, config.init_from, config.init_parts)
    opened = open_examples(config, array, corpus)
    check_labels(config, criterion, opened.examples)
    preflight(config, model, criterion)
    return Prepared(array, corpus, model, criterion, opened)


def trained(config: TrainConfig, prepared: Prepared, folder: Path) -> dict[str, Any]:
    """Train a run unless it has been; return what it measured of itself."""
    measured, identities = folder / TRAINED_NAME, prepared.opened.identities
    if is_unfinished(folder):
        check_same_mixtures(folder, identities)
    prepare_folder(folder, config)
    keep_identities(folder, identities)
    if not measured.exists():
        write_json(measured, fit_network(config, prepared, folder))
    return read_json(measured, "delete it; the same command makes it")


def fit_network(config: TrainConfig, prepared: Prepared, folder: Path) -> dict[str, float]:
    array, corpus, model, criterion, opened = prepared

    def describe(metrics: dict[str, Any], training: dict[str, Any]) -> Description:
        numbers = {key: value for key, value in metrics.items() if isinstance(value, int | float)}
        return Description.of(
            model,
            config.criterion,
            config.scene.target,
            config=config.model_dump(mode="json"),
            metrics=numbers,
            training=training,
            versions=versions(),
            git_commit=git_commit(),
        )

    keep_freed_pages()
    with PeakMemory() as memory:
        data = build_data(config, array, corpus, opened)
        _announce(config, model)
        return fit(config, folder, model, criterion, data, describe, memory)


def build_model(config: TrainConfig, array: MicrophoneArray) -> MSDET:
    """The network with its seeded random weights; leaves the global generators as they are, on
    which nothing in a run depends.

    Raises:
        InputError: this machine has too little memory for it.
    """

    def build() -> MSDET:
        return MSDET(
            config.model,
            array,
            config.sample_rate,
            num_slots=config.num_slots,
            reference_mic=config.scene.reference_mic,
            tasks=trained_tasks(config.criterion.weight, config.criterion.distance_weight),
            empty_slots=config.empty_slots,
        )

    with torch.device("meta"):  # takes no memory
        check_memory(build())
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(config.seed)
        return build()


def _announce(config: TrainConfig, model: MSDET) -> None:
    """Parameters and multiply-accumulates, before the first step."""
    weights = sum(p.numel() for p in model.parameters())
    macs = count_macs(model)
    Console(stderr=True).print(
        f"{config.name}: {weights / 1e6:.3f} M weights, {macs / 1e9:.2f} G multiply-accumulates "
        f"per second of audio ({model.array.num_mics} microphones, {config.sample_rate} Hz)",
        soft_wrap=True,
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
