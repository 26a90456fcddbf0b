# SPDX-License-Identifier: Apache-2.0
"""Trained models that ship with msdet: ``data/models/NAME.ckpt``, each with a card ``NAME.md``.

The file ``default`` beside them holds the names of those that are taken where none is named: for
microphones that are on no line, and for those on a line.
"""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from msdet.errors import InputError
from msdet.resources import models_dir


@dataclass(frozen=True)
class ShippedModel:
    """A model's files.

    Attributes:
        summary: the first line of the card that is neither empty nor a heading.
    """

    name: str
    path: Path
    summary: str


def shipped_models() -> list[ShippedModel]:
    """Return all that ship, by name."""
    return [
        ShippedModel(path.stem, path, _summary(path.with_suffix(".md")))
        for path in sorted(models_dir().glob("*.ckpt"))
    ]


def default_model(linear: bool = False) -> ShippedModel:
    """Return the model that is taken where none is named.

    Args:
        linear: the microphones are on a line.

    Raises:
        InputError: none ships.
    """
    models = {model.name: model for model in shipped_models()}
    if not models:
        raise InputError(
            "checkpoint: no model ships with this version of msdet; give checkpoint=FILE, a "
            "model.ckpt that `msdet train` made"
        )
    choice = models_dir() / "default"
    names = choice.read_text(encoding="utf-8").split() if choice.is_file() else [min(models)]
    return models[names[-1] if linear else names[0]]


def find_checkpoint(name: str | Path) -> Path:
    """Return the file of a checkpoint, or of a model that ships, by its name.

    Raises:
        InputError: a plain name that is neither a file nor a model; says which models there are.
    """
    path = Path(name)
    if path.is_file() or path.suffix or len(path.parts) != 1:
        return path
    names = [model.name for model in shipped_models()]
    if str(name) in names:
        return models_dir() / f"{name}.ckpt"
    near = get_close_matches(str(name), names, n=1)
    there = f"the models are {', '.join(names)}" if names else "and none ships with this version"
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise InputError(f"checkpoint={name}: no such file, and no model has this name; {there}{hint}")


def how_many(fewest: int, most: int) -> str:
    """Say a range in words.

    >>> how_many(2, 2), how_many(1, 3)
    ('2', '1 to 3')
    """
    return str(most) if fewest == most else f"{fewest} to {most}"


def _summary(card: Path) -> str:
    if not card.is_file():
        return ""
    lines = (line.strip() for line in card.read_text(encoding="utf-8").splitlines())
    return next((line for line in lines if line and not line.startswith(("#", "<!--", "---"))), "")
