# SPDX-License-Identifier: Apache-2.0
"""Checks of a config: what cannot be trained is refused before any work."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import psutil
import torch

from msdet.criteria import Criterion
from msdet.criteria.config import NEEDS
from msdet.datasets import ExampleSet
from msdet.datasets.many_arrays import build_arrays
from msdet.errors import InputError
from msdet.geometry import MicrophoneArray
from msdet.models.msdet import MSDET
from msdet.simulation import check_scene_config
from msdet.simulation.noise_sources import open_noise
from msdet.tasks import LABEL_OF, trained_tasks
from msdet.training.config import TrainConfig, TrainerConfig

_COPIES = 4
"""Numbers kept for each weight: itself, its gradient, and the two averages of AdamW."""


def check(config: TrainConfig, array: MicrophoneArray) -> Criterion:
    """Refuse what cannot be trained, before any work; return the criterion.

    Raises:
        InputError: names the key, its value and what would be possible.
    """
    arrays = build_arrays(config.data.arrays, array, config.seed)
    _check_many_arrays(config, arrays)
    for one in arrays:
        check_scene_config(config.scene, one)
    criterion = Criterion(config.criterion, array.is_linear)
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
    if config.model.heads.guidance == "oracle" and not criterion.assign.by_location:
        raise InputError(
            f"criterion.assignment={str(config.criterion.assignment)!r} with "
            "model.heads.guidance='oracle': outputs decide the order, but guidance needs it "
            "beforehand; choose an assignment by location"
        )
    return criterion


def _check_many_arrays(config: TrainConfig, arrays: Sequence[MicrophoneArray]) -> None:
    """Training on several arrays needs a network that serves any, and mixtures made to order."""
    if len(arrays) == 1:
        return
    data, frontend = config.data, config.model.frontend
    if not frontend.any_array:
        which = getattr(frontend, "name", str(frontend))
        raise InputError(
            f"data.arrays: model.frontend.name={which!r} serves one array; 'directional' serves any"
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
    criterion, model = config.criterion, config.model
    speakers = f"scene.num_speakers={list(config.scene.num_speakers)}"
    conversation = config.scene.conversation
    if conversation is not None and conversation.most_heard is not None:
        speakers += f", scene.conversation.most_heard={conversation.most_heard}"
    span = model.heads.span
    if config.scene.movement is not None and span is None:
        raise InputError(
            "scene.movement: who walks has no one direction; model.heads.span=0.5 reads directions "
            "over time"
        )
    if config.scene.movement is not None and model.heads.guidance == "oracle":
        raise InputError(
            "scene.movement: model.heads.guidance=oracle tells a network one direction a speaker; "
            "give estimated or none"
        )
    if span is not None and span >= config.data.crop_seconds:
        raise InputError(
            f"model.heads.span={span:g}: is not shorter than data.crop_seconds="
            f"{config.data.crop_seconds:g}"
        )
    if span is not None and criterion.weight == 1:
        raise InputError(
            f"model.heads.span={span:g}: criterion.weight=1 trains no directions; give null"
        )
    if config.scene.heard_speakers[1] < 2:
        raise InputError(
            f"{speakers}: training needs scenes of up to 2 speakers or more, there is nothing to "
            "separate in the others"
        )
    if config.num_slots < config.scene.heard_speakers[1]:
        raise InputError(
            f"model.slots={model.slots}: fewer than the speakers of {speakers}; each needs an "
            "output"
        )
    tasks = trained_tasks(criterion.weight, criterion.distance_weight)
    if ("distance" in tasks) != (model.heads.distance != "none"):
        raise InputError(
            f"criterion.distance_weight={criterion.distance_weight:g} with "
            f"model.heads.distance={model.heads.distance!r}: a distance head (regression or "
            "classes) goes with a weight above 0, and none with 0"
        )
    steered = (
        ("beamformer", model.heads.beamformer in ("steered", "convolutive"), "'mask'"),
        ("dereverberations", model.heads.dereverberations > 0, "0"),
    )
    for key, chosen, instead in steered:
        if chosen and "direction" not in tasks:
            raise InputError(
                f"model.heads.{key}={getattr(model.heads, key)!r} with "
                f"criterion.weight={criterion.weight:g}: nothing trains the directions that it is "
                f"steered to; give {instead}, or a weight below 1"
            )
    if model.heads.combiner_blocks and not model.heads.dereverberations:
        raise InputError(
            f"model.heads.combiner_blocks={model.heads.combiner_blocks} with "
            "model.heads.dereverberations=0: there is nothing to combine; give dereverberations=3"
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
    asked = f"criterion.balancing={criterion.balancing!r}"
    if criterion.balancing != "fixed" and len(tasks) < 2:
        raise InputError(
            f"{asked} with {' and '.join(tasks) or 'no task'} alone: there is nothing to balance; "
            "give 'fixed', or train two tasks (0 < criterion.weight < 1)"
        )
    if criterion.balancing == "anneal" and "separation" not in tasks:
        raise InputError(
            f"{asked} without separation: the weights of {' and '.join(tasks)} would fall to zero; "
            "give 'fixed', or a criterion.weight above 0"
        )
    if criterion.balancing == "upgrad":
        for setting, why, mend in _against_upgrad(config):
            raise InputError(
                f"{asked} with {setting}: {why}; give 'fixed', 'uncertainty' or 'dwa', or {mend}"
            )


def _against_upgrad(config: TrainConfig) -> Iterator[tuple[str, str, str]]:
    """Yield the settings that it cannot go with, why, and what it can."""
    trainer, sharing = config.trainer, config.model.sharing
    if trainer.strategy == "ddp" or trainer.num_nodes > 1 or _device_count(trainer) > 1:
        yield (
            f"trainer.strategy={trainer.strategy!r}, trainer.devices={trainer.devices}, "
            f"trainer.num_nodes={trainer.num_nodes}",
            "it goes around what averages gradients over devices",
            "trainer.strategy=auto trainer.devices=1 trainer.num_nodes=1",
        )
    if trainer.precision != "32-true":
        yield (
            f"trainer.precision={trainer.precision!r}",
            "it compares gradients, which mixed precision scales and rounds",
            "trainer.precision=32-true",
        )
    if trainer.compile:
        yield (
            "trainer.compile=true",
            "it goes through the graph once a task, which a compiled network does not allow",
            "trainer.compile=false",
        )
    if sharing != "hard":
        yield (
            f"model.sharing={sharing!r}",
            "the tasks share no weights whose gradients could conflict",
            "model.sharing=hard",
        )
    if "encoder" in trainer.freeze:
        yield (
            f"trainer.freeze={list(trainer.freeze)}",
            "the weights that the tasks share are not trained",
            "take 'encoder' out of trainer.freeze",
        )


def _device_count(trainer: TrainerConfig) -> int:
    """Return how many devices Lightning would take."""
    if trainer.devices != "auto":
        return trainer.devices
    return 1 if trainer.accelerator == "cpu" else max(1, torch.cuda.device_count())


def check_labels(config: TrainConfig, criterion: Criterion, examples: ExampleSet) -> None:
    """Refuse a task that no example has labels for, and an assignment that some lack them for."""
    where = f"data.labelled={config.data.labelled}"
    for task in criterion.tasks:
        if (label := LABEL_OF[task]) not in examples.any_labels:
            key = "distance_weight" if task == "distance" else "weight"
            raise InputError(
                f"criterion.{key}={getattr(config.criterion, key):g}: trains {task}, but no "
                f"example has {label}: {where} lists none; change this weight, or train with "
                "simulated examples too (data.labelled_share below 1)"
            )
    needed = frozenset(criterion.assign.needs)
    if config.model.heads.guidance == "oracle":
        needed |= {"azimuth"}
    if lacking := sorted(needed - examples.labels):
        possible = [name for name, labels in NEEDS.items() if labels <= examples.labels]
        raise InputError(
            f"criterion.assignment={str(config.criterion.assignment)!r}: needs every example's "
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


def check_parts(config: TrainConfig, model: MSDET) -> None:
    """Refuse names of parts that the network does not have, and to freeze all of it.

    Raises:
        InputError: names the key, the part and those that there are.
    """
    parts = [name for name, part in model.named_children() if any(True for _ in part.parameters())]
    frozen, started = config.trainer.freeze, config.init_parts
    for key, named in (("trainer.freeze", frozen), ("init_parts", started)):
        for part in named:
            if part not in parts:
                raise InputError(f"{key}: there is no part {part!r}; there are {parts}")
    if set(parts) <= set(frozen):
        raise InputError("trainer.freeze: names every part of the network; nothing would train")
    if started and config.init_from is None:
        raise InputError(
            f"init_parts={list(started)}: are parts of a checkpoint; give init_from too"
        )
