# SPDX-License-Identifier: Apache-2.0
"""What cannot be trained is refused before any work."""

from __future__ import annotations

from collections.abc import Sequence

import psutil
import torch

from msdet.criteria.assignment import BY_LOCATION, NEEDS, check_assignment
from msdet.criteria.balancing import check_balancing
from msdet.datasets import Label
from msdet.datasets.many_arrays import build_arrays
from msdet.errors import InputError
from msdet.geometry import MicrophoneArray
from msdet.models.msdet import MSDET, Task, trained_tasks
from msdet.simulation import check_scene_config
from msdet.simulation.noise_sources import open_noise
from msdet.training.config import TrainConfig
from msdet.training.data import Sources

_COPIES = 4
"""Numbers kept for each weight: itself, its gradient, and the two averages of AdamW."""


def check(config: TrainConfig, array: MicrophoneArray) -> None:
    """Refuse what cannot be trained, before any work.

    Raises:
        InputError: names the key, its value and what would be possible.
    """
    arrays = build_arrays(config.data.arrays, array, config.seed)
    _check_many_arrays(config, arrays)
    for one in arrays:
        check_scene_config(config.scene, one)
    check_assignment(config.criterion.assignment, array.is_linear)
    _check_tasks(config)
    if config.trainer.accelerator == "gpu" and not torch.cuda.is_available():
        raise InputError("trainer.accelerator='gpu': torch finds none here; give 'auto' or 'cpu'")
    data = config.data
    shared = data.simulated is None and (data.bank is not None or data.train_rooms is not None)
    if data.fresh_rooms and not shared:
        which = "data.simulated" if data.simulated is not None else "data.train_rooms=null"
        raise InputError(f"data.fresh_rooms={data.fresh_rooms}: has no meaning with {which}")
    noise = open_noise(config.scene.background, config.sample_rate)
    if noise is not None:
        longest = max(data.crop_seconds, data.eval_seconds)
        noise.at_least(round(longest * config.sample_rate))
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


def _check_many_arrays(config: TrainConfig, arrays: Sequence[MicrophoneArray]) -> None:
    """Training on several arrays needs a network that serves any, and mixtures made to order."""
    if len(arrays) == 1:
        return
    data = config.data
    if config.model.frontend.name == "ri":
        raise InputError(
            "data.arrays: model.frontend.name='ri' serves one array; 'directional' serves any"
        )
    for key in ("simulated", "bank", "labelled"):
        if (value := getattr(data, key)) is not None:
            raise InputError(
                f"data.arrays: with data.{key}={value}, which is recorded with one array; give one "
                "of them"
            )
    if data.train_rooms is not None and data.train_rooms < len(arrays):
        raise InputError(
            f"data.train_rooms={data.train_rooms}: fewer than the {len(arrays)} arrays that the "
            "rooms are shared out among"
        )


def _check_tasks(config: TrainConfig) -> None:
    criterion, model, trainer = config.criterion, config.model, config.trainer
    if config.scene.num_speakers[1] < 2:
        raise InputError(
            f"scene.num_speakers={list(config.scene.num_speakers)}: training needs scenes of up to "
            "2 speakers or more, there is nothing to separate in the others"
        )
    if config.num_slots < config.scene.num_speakers[1]:
        raise InputError(
            f"model.slots={model.slots}: fewer than the speakers of "
            f"scene.num_speakers={list(config.scene.num_speakers)}; each needs an output"
        )
    tasks = trained_tasks(criterion.weight, criterion.distance_weight)
    if ("distance" in tasks) != (model.heads.distance != "none"):
        raise InputError(
            f"criterion.distance_weight={criterion.distance_weight:g} with "
            f"model.heads.distance={model.heads.distance!r}: a distance head (regression or "
            "classes) goes with a weight above 0, and none with 0"
        )
    if model.heads.beamformer == "steered" and "direction" not in tasks:
        raise InputError(
            f"model.heads.beamformer='steered' with criterion.weight={criterion.weight:g}: nothing "
            "trains the directions that it is steered to; give 'mask', or a weight below 1"
        )
    if model.sharing != "hard" and not {"separation", "direction"} <= set(tasks):
        raise InputError(
            f"model.sharing={model.sharing!r} with {' and '.join(tasks)} alone: parts of the "
            "network would not be trained; give 'hard', or train separation and direction "
            "(0 < criterion.weight < 1)"
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


def check_labels(config: TrainConfig, sources: Sources) -> None:
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


def check_memory(model: MSDET) -> None:
    """Refuse a network that cannot be trained in this machine's memory, whatever else it needs.

    Raises:
        InputError: says how large it is, and what makes it smaller.
    """
    size = sum(weight.nbytes for weight in model.parameters())
    needed, there = _COPIES * size, psutil.virtual_memory().total
    if needed > there:
        raise InputError(
            f"model: its weights take {size / 1e9:.3g} GB, and training them {needed / 1e9:.3g} GB "
            f"(gradients, the optimiser's averages), more than the {there / 1e9:.3g} GB of this "
            "machine; lessen model.encoder.channels, model.encoder.blocks or model.heads"
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
