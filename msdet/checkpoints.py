# SPDX-License-Identifier: Apache-2.0
"""Checkpoints: their description, how they are written, and the only place that loads one.

A portable checkpoint (``model.ckpt``) needs nothing beside it: weights, the model's config, array
geometry, sample rate, assignment, versions and the metrics at save. The training state
(``last.ckpt``, Lightning's) carries the same description, so every command takes either. Both
load with ``weights_only=True``: plain numbers, texts and tensors, no pickled classes.

A file that loads is as it was written: torch writes a zip archive with a CRC-32 of every record,
which `load_checkpoint` compares (torch itself does not), so that a flipped bit is found. Nothing
is believed before it is checked: sizes are bounded and compared with what the file holds before
memory is taken for them, and weights are finite numbers. A checkpoint may name classes of a user's
own; only who trusts it lets them run.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from msdet.criteria.assignment import assignment_rule
from msdet.criteria.config import Assignment, CriterionConfig
from msdet.criteria.labels import Labels
from msdet.errors import InputError, first_mistake
from msdet.files import replacing
from msdet.geometry import MicrophoneArray
from msdet.models.config import MOST_SLOTS, DirectionalConfig, ModelConfig
from msdet.models.folding import fold_looks
from msdet.models.msdet import MSDET
from msdet.parsing import SampleRate
from msdet.parts import own_targets
from msdet.shipped import find_checkpoint
from msdet.stored_settings import TrainedWith, as_it_was, first_unset
from msdet.tasks import trained_tasks

FORMAT = 1
DESCRIPTION_KEY = "msdet"
_WRAPPERS = ("_orig_mod.", "module.")


class Description(BaseModel):
    """Everything but the weights. Stored in a checkpoint as plain data.

    Attributes:
        model: the network's config. num_slots: how many speakers it outputs.
        array: microphone positions it was trained with. reference_mic: index into them.
        target, assignment: what a slot outputs, and which speaker goes to which slot.
        nearest_gap: degrees, of the assignment of this name.
        weight, distance_weight: of the tasks' losses, which tell what it is for.
        empty_slots: scenes may have fewer speakers than it has slots.
        config: the whole resolved training config. metrics: validation metrics at save.
        training: seconds, steps and examples so far, and what else the run measured.
        versions, git_commit: what it was made with.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int = FORMAT
    model: ModelConfig
    num_slots: int = Field(ge=1, le=MOST_SLOTS)
    array: MicrophoneArray
    reference_mic: int = Field(ge=0)
    sample_rate: SampleRate
    target: Literal["direct", "early", "image"]
    assignment: Assignment
    nearest_gap: float | None = Field(default=None, ge=0, le=180)
    weight: float = Field(ge=0, le=1)
    distance_weight: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    empty_slots: bool = False
    config: dict[str, Any] = {}
    metrics: dict[str, bool | int | float | None] = {}
    training: dict[str, int | float] = {}
    versions: dict[str, str] = {}
    git_commit: str | None = None

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Description:
        if self.reference_mic >= self.array.num_mics:
            raise ValueError(
                f"reference_mic={self.reference_mic}: the array has {self.array.num_mics} "
                "microphones, counted from 0"
            )
        try:
            fewest, most = self.trained_speakers
        except ValidationError as error:
            raise ValueError(f"config.{first_mistake(error)}") from error
        least = 1 if self.trained_with.scene.conversation is None else 0
        if not least <= fewest <= most <= self.num_slots or most < 1:
            raise ValueError(
                f"config.scene.num_speakers={[fewest, most]}: the network has {self.num_slots} "
                "outputs"
            )
        return self

    @classmethod
    def of(
        cls,
        model: MSDET,
        criterion: CriterionConfig,
        target: Literal["direct", "early", "image"] = "direct",
        **facts: Any,
    ) -> Description:
        """Describe a network that was trained under a criterion.

        Args:
            target: what its outputs hold. facts: other attributes, such as `metrics`.
        """
        return cls(
            model=model.config,
            num_slots=model.num_slots,
            array=model.array,
            reference_mic=model.reference_mic,
            sample_rate=model.sample_rate,
            target=target,
            assignment=criterion.assignment,
            nearest_gap=criterion.nearest_gap,
            weight=criterion.weight,
            distance_weight=criterion.distance_weight,
            empty_slots=model.empty_slots,
            **facts,
        )

    @cached_property
    def trained_with(self) -> TrainedWith:
        """The keys of the training config that are read of a model, checked."""
        return TrainedWith.model_validate(self.config)

    @property
    def trained_speakers(self) -> tuple[int, int]:
        """How many speakers the scenes of training had, at least and at most; the network may
        have outputs to spare."""
        scene = self.trained_with.scene
        fewest, most = scene.num_speakers or (self.num_slots, self.num_slots)
        if scene.conversation is None:
            return fewest, most
        return 0, min(most, scene.conversation.most_heard or most)

    @property
    def nearest_speakers(self) -> float:
        """Degrees: no two speakers of training's scenes were closer; 0 where that is not known."""
        data = self.trained_with.data
        recorded = data.simulated or data.labelled
        return 0.0 if recorded else self.trained_with.scene.speaker.min_angle

    @property
    def trained_arrays(self) -> str:
        """The array of training, and how many more there were."""
        arrays = self.trained_with.data.arrays
        more = len(arrays.shapes) + arrays.drawn
        return f"{self.array.name} and {more} more arrays" if more else self.array.name

    def location_order(self, labels: Labels) -> torch.Tensor | None:
        """Return the speaker of each slot ``[batch, slot]`` that the assignment of training
        prescribes by location; None where outputs decide."""
        rule = assignment_rule(
            self.assignment, gap=self.nearest_gap or 0.0, linear=self.array.is_linear
        )
        return rule(labels, None) if rule.by_location else None

    @property
    def own_classes(self) -> list[str]:
        """The classes outside msdet that the network, or its scenes, are made with."""
        parts = self.model_dump(mode="json", include={"model", "assignment"})
        return list(own_targets([parts, self.config.get("corpus"), self.config.get("scene")]))

    def build(self) -> MSDET:
        """Return the network, with random weights."""
        return MSDET(
            self.model,
            self.array,
            self.sample_rate,
            self.num_slots,
            self.reference_mic,
            trained_tasks(self.weight, self.distance_weight),
            self.empty_slots,
        )


@dataclass(frozen=True)
class Checkpoint:
    """A loaded checkpoint: the network in evaluation mode and its description."""

    path: Path
    model: MSDET
    description: Description


def save_atomically(content: Mapping[str, Any], path: Path) -> None:
    """``torch.save`` to a file that is there when it is whole.

    Raises:
        InputError: the file cannot be written (a full disk, say); the old file is left as it was.
    """
    try:
        with replacing(path) as file:
            torch.save(dict(content), file)
    except (OSError, RuntimeError) as error:
        kept = "; the file written before it is whole" if path.exists() else ""
        why = getattr(error, "strerror", None) or error
        raise InputError(f"{path}: cannot be written ({why}){kept}") from error


def save_portable(path: str | Path, model: MSDET, description: Description) -> None:
    """Write a portable checkpoint: one that needs nothing beside it."""
    weights = {name: value.detach().cpu() for name, value in model.state_dict().items()}
    save_atomically(
        {DESCRIPTION_KEY: description.model_dump(mode="json"), "weights": weights}, Path(path)
    )


def load_checkpoint(path: str | Path, *, trust: bool = False) -> Checkpoint:
    """Load ``model.ckpt`` or ``last.ckpt``, or a model that ships by its name, on the CPU.

    Args:
        trust: import and run the classes outside msdet that the checkpoint names, as its encoder.
            Such a class is code: give True for checkpoints of people whom you trust.
    Raises:
        InputError: no such file or model, cut or damaged, not a checkpoint of this project, made by
            a newer version of it, with weights that are not finite or do not fit the description,
            or with classes outside msdet and no trust.
    """
    path, description, weights = _opened(path)
    foreign = sorted(set(description.own_classes))
    if foreign and not trust:
        raise InputError(
            f"{path}: names classes that are not of msdet ({', '.join(foreign)}), whose code would "
            "run; load it with trust=true (in Python trust=True) if you trust who made it"
        )
    try:
        # on the meta device a network takes no memory, whatever sizes are told
        with nullcontext() if foreign else torch.device("meta"):
            misfit = _first_misfit(description.build().state_dict(), weights)
    except InputError:
        raise
    except (RuntimeError, KeyError, TypeError, ValueError, AttributeError) as error:
        misfit = str(error).splitlines()[-1].strip()
    if misfit:
        raise InputError(f"{path}: its weights do not fit its own description ({misfit})")
    if wrong := not_finite(weights):
        raise InputError(
            f"{path}: holds weights that are no finite numbers ({wrong}); its training diverged, "
            "give another checkpoint"
        )
    model = description.build()
    model.load_state_dict(weights)
    model.requires_grad_(False)
    return Checkpoint(path, model.eval(), description)


def read_description(path: str | Path) -> Description:
    """Return what a checkpoint says of itself, without making its network.

    Raises:
        InputError: it cannot be read, as by :func:`load_checkpoint`.
    """
    return _opened(path)[1]


def load_matching_weights(model: MSDET, path: str | Path, init_parts: Sequence[str] = ()) -> None:
    """Start ``model`` from another checkpoint's weights.

    A model for lines may start from one for planar arrays with ``2 * (N - 1)`` look directions
    for its N (:mod:`msdet.models.folding`).

    Args:
        init_parts: names of the parts that start from it; none: all.
    Raises:
        InputError: the checkpoint's weights have other names or shapes, or are not finite.
    """
    _, description, weights = _opened(path)
    own = model.state_dict()
    if model.array.is_linear and _folds(description, model):
        looks, classes = model.look_grid.num_classes, model.grid.num_classes
        weights = fold_looks(weights, looks, classes, model.num_slots)
    if init_parts:
        own, weights = (
            {name: w for name, w in held.items() if name.split(".")[0] in init_parts}
            for held in (own, weights)
        )
    wrong = [
        name
        for name in {**own, **weights}
        if name not in weights or name not in own or weights[name].shape != own[name].shape
    ]
    if wrong:
        whole = "" if init_parts else "; init_parts=[encoder], say, takes a part of it"
        raise InputError(
            f"init_from={path}: is from another model: {len(wrong)} weights differ in name or "
            f"shape, the first being {wrong[0]!r}{whole}"
        )
    if name := not_finite(weights):
        raise InputError(f"init_from={path}: holds weights that are no finite numbers ({name})")
    model.load_state_dict(weights, strict=not init_parts)


def _folds(description: Description, line: MSDET) -> bool:
    """Return whether a checkpoint is of a network like ``line``, but for planar arrays."""
    frontend, heads = description.model.frontend, description.model.heads
    return (
        not description.array.is_linear
        and isinstance(frontend, DirectionalConfig)
        and isinstance(line.config.frontend, DirectionalConfig)
        and frontend.directions == 2 * (line.look_grid.num_classes - 1)
        and heads.resolution == line.config.heads.resolution
        and description.num_slots == line.num_slots
    )


def _opened(path: str | Path) -> tuple[Path, Description, dict[str, torch.Tensor]]:
    path = find_checkpoint(path)
    content = _read(path)
    description = content.get(DESCRIPTION_KEY)
    if not isinstance(description, dict):
        raise InputError(f"{path}: is not a checkpoint of msdet (it has no description of a model)")
    written = description.get("format")
    if isinstance(written, int) and written > FORMAT:
        raise InputError(
            f"{path}: was written by a newer msdet (format {written}, this version "
            f"reads up to {FORMAT}): upgrade msdet"
        )
    unreadable = f"{path}: its description cannot be read"
    if "model" in description:
        description = {**description, "model": as_it_was(description["model"])}
    try:
        parsed = TypeAdapter(Description).validate_python(description)
    except ValidationError as error:
        raise InputError(f"{unreadable}: {first_mistake(error)}") from error
    if missing := first_unset(parsed.model, "model"):
        raise InputError(f"{unreadable}: {missing} is missing")
    try:
        weights = _weights(content)
    except (RuntimeError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{path}: its weights cannot be read ({error})") from error
    return path, parsed, weights


def not_finite(weights: Mapping[str, torch.Tensor]) -> str:
    """The name of the first of these that holds NaN or an infinity; empty where none does."""
    return next((name for name, w in weights.items() if not torch.isfinite(w).all()), "")


def _first_misfit(expected: Mapping[str, torch.Tensor], found: Mapping[str, torch.Tensor]) -> str:
    """Say how weights differ from those of a network; empty where they do not."""
    for name in {**expected, **found}:
        if name not in found:
            return f"{name} is missing"
        if name not in expected:
            return f"{str(name)[:80]} is none of its own"
        weight, wanted = found[name], expected[name]
        kinds = [(tuple(w.shape), w.dtype, w.layout) for w in (weight, wanted)]
        if kinds[0] != kinds[1]:
            return f"{name} is {kinds[0]}, expected {kinds[1]}"
        if weight.untyped_storage().nbytes() < weight.nbytes:
            return f"{name} holds fewer numbers than it says"
    return ""


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        what = "is a folder; name the model.ckpt in it" if path.is_dir() else "no such file"
        raise InputError(f"checkpoint={path}: {what}")
    damaged = f"checkpoint={path}: is cut or damaged"
    try:
        with zipfile.ZipFile(path) as archive:
            wrong = archive.testzip()
    except Exception as error:  # for a damaged file zipfile raises a dozen types, zlib's too
        raise InputError(f"{damaged}, or never was a checkpoint") from error
    if wrong is not None:
        raise InputError(f"{damaged} (the checksum of {wrong!r} differs)")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises a dozen types for what it does not know
        raise InputError(
            f"checkpoint={path}: is not a checkpoint that can be loaded safely: it is damaged, or "
            "holds more than numbers and texts"
        ) from error
    if not isinstance(content, dict):
        raise InputError(f"checkpoint={path}: is not a checkpoint of msdet")
    return content


def _weights(content: dict[str, Any]) -> dict[str, torch.Tensor]:
    if "weights" in content:
        weights = dict(content["weights"])
    else:  # Lightning's, with the criterion's own beside the model's
        state = content["state_dict"].items()
        weights = {n.removeprefix("model."): w for n, w in state if n.startswith("model.")}
    return {_name(name): weight for name, weight in weights.items()}


def _name(name: str) -> str:
    """Return a weight's name as this version has it."""
    for wrapper in _WRAPPERS:
        name = name.replace(wrapper, "")
    # Heads other than masks came later.
    return name.replace("mask_head.", "separation_head.", 1) if name.startswith("mask_") else name
