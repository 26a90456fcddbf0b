# SPDX-License-Identifier: Apache-2.0
"""What a checkpoint holds, how it is written, and the only place that loads one.

A portable checkpoint (``model.ckpt``) needs nothing beside it: weights, the model's config, array
geometry, sample rate, assignment, versions and the metrics at save. The training state
(``last.ckpt``, Lightning's) carries the same description, so every command takes either. Both
load with ``weights_only=True``: plain numbers, texts and tensors, no pickled classes.
"""

from __future__ import annotations

import subprocess
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from msdet.criteria.assignment import Assignment
from msdet.errors import InputError, first_mistake
from msdet.files import replacing
from msdet.geometry import MicrophoneArray
from msdet.models.msdet import MSDET, ModelConfig, trained_tasks
from msdet.shipped import find_checkpoint

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
    num_slots: int
    array: MicrophoneArray
    reference_mic: int
    sample_rate: int
    target: Literal["direct", "early", "image"]
    assignment: Assignment
    nearest_gap: float | None = None
    weight: float
    distance_weight: float = 0.0
    empty_slots: bool = False
    config: dict[str, Any]
    metrics: dict[str, Any] = {}
    training: dict[str, Any] = {}
    versions: dict[str, str]
    git_commit: str | None

    @property
    def trained_speakers(self) -> tuple[int, int]:
        """How many speakers the scenes of training had, at least and at most; the network may
        have outputs to spare."""
        fewest, most = self.config.get("scene", {}).get("num_speakers", [self.num_slots] * 2)
        return fewest, most

    @property
    def nearest_speakers(self) -> float:
        """Degrees: no two speakers of training's scenes were closer; 0 where that is not known."""
        data = self.config.get("data", {})
        if data.get("simulated") or data.get("labelled"):
            return 0.0
        return float(self.config.get("scene", {}).get("speaker", {}).get("min_angle", 0.0))

    @property
    def trained_arrays(self) -> str:
        """The array of training, and how many more there were."""
        arrays = self.config.get("data", {}).get("arrays", {})
        more = len(arrays.get("shapes", ())) + arrays.get("drawn", 0)
        return f"{self.array.name} and {more} more arrays" if more else self.array.name

    def build(self) -> MSDET:
        """The network, with random weights."""
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


def save_portable(path: Path, model: MSDET, description: Description) -> None:
    """Write a portable checkpoint."""
    weights = {name: value.detach().cpu() for name, value in model.state_dict().items()}
    save_atomically(
        {DESCRIPTION_KEY: description.model_dump(mode="json"), "weights": weights}, path
    )


def load_checkpoint(path: str | Path) -> Checkpoint:
    """Load ``model.ckpt`` or ``last.ckpt``, or a model that ships by its name, on the CPU.

    Raises:
        InputError: no such file or model, cut or damaged, not a checkpoint of this project, or
            made by a newer version of it.
    """
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
    try:
        parsed = TypeAdapter(Description).validate_python(description)
    except ValidationError as error:
        raise InputError(
            f"{path}: its description cannot be read: {first_mistake(error)}"
        ) from error
    model = parsed.build()
    try:
        model.load_state_dict(_weights(content))
    except (RuntimeError, KeyError, TypeError, ValueError, AttributeError) as error:
        first = str(error).splitlines()[-1].strip()
        raise InputError(f"{path}: its weights do not fit its own description ({first})") from error
    model.requires_grad_(False)
    return Checkpoint(path, model.eval(), parsed)


def load_matching_weights(model: MSDET, path: str | Path) -> None:
    """Start ``model`` from another checkpoint's weights.

    Raises:
        InputError: the checkpoint's weights have other names or shapes.
    """
    weights, own = load_checkpoint(path).model.state_dict(), model.state_dict()
    wrong = [
        name
        for name in {**own, **weights}
        if name not in weights or name not in own or weights[name].shape != own[name].shape
    ]
    if wrong:
        raise InputError(
            f"init_from={path}: is from another model: {len(wrong)} weights differ in name or "
            f"shape, the first being {wrong[0]!r}"
        )
    model.load_state_dict(weights)


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        what = "is a folder; name the model.ckpt in it" if path.is_dir() else "no such file"
        raise InputError(f"checkpoint={path}: {what}")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises a dozen types for a damaged file
        whole = zipfile.is_zipfile(path)
        what = "is not a checkpoint that can be loaded safely" if whole else "is cut or damaged"
        raise InputError(f"checkpoint={path}: {what} ({type(error).__name__})") from error
    if not isinstance(content, dict):
        raise InputError(f"checkpoint={path}: is not a checkpoint of msdet")
    return content


def _weights(content: dict[str, Any]) -> dict[str, torch.Tensor]:
    if "weights" in content:
        return dict(content["weights"])
    weights = {}
    for name, value in content["state_dict"].items():
        if not name.startswith("model."):  # the criterion's own
            continue
        name = name.removeprefix("model.")
        for wrapper in _WRAPPERS:
            name = name.replace(wrapper, "")
        weights[name] = value
    return weights


def versions() -> dict[str, str]:
    """Versions of what shapes a result."""
    names = ("msdet", "torch", "torchaudio", "lightning", "numpy", "scipy", "pyroomacoustics")
    return {name: version(name) for name in names}


def git_commit() -> str | None:
    """The commit of the checkout that this package runs from; None outside one."""
    folder = Path(__file__).resolve().parent
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), "rev-parse", "HEAD"],
            capture_output=True,
            text=True,
            timeout=5,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
