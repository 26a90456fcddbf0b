# SPDX-License-Identifier: Apache-2.0
"""Which microphones somebody can choose on the page: the model's own, those of the configs that it
serves, or positions that are typed in."""

from __future__ import annotations

import json
import math

import numpy as np
from pydantic import ValidationError

from msdet.errors import InputError, first_mistake
from msdet.geometry import MicrophoneArray, Positions
from msdet.inference.separator import Separator
from msdet.named_arrays import POSITIONS, named_array, named_arrays

OWN, TYPED = "own", POSITIONS
"""Choices beside the names of the configs; ``positions`` is the config that leaves them to you."""


def array_choices(separator: Separator) -> list[tuple[str, str]]:
    """What the page shows and what it stands for, of the arrays that the model serves."""
    choices = [(f"as in training ({separator.description.array.name})", OWN)]
    for name, array in named_arrays().items():
        try:
            separator.array_for(array)
        except InputError:
            continue
        choices.append((f"{name} ({array.num_mics} microphones)", name))
    return [*choices, ("positions, typed in", TYPED)]


def chosen_array(separator: Separator, choice: str | None, typed: str) -> MicrophoneArray:
    """The microphones of a choice.

    Args:
        typed: JSON ``[[x, y, z], ...]`` in metres, where the choice is ``positions``.
    Raises:
        InputError: none was chosen, there is no such choice, what was typed is no list of
            positions, or the model does not serve them.
    """
    if choice is None:
        raise InputError("no microphones were chosen; choose those that it was recorded with")
    if choice == OWN:
        return separator.description.array
    if choice == TYPED:
        return separator.array_for(_typed_array(typed))
    return separator.array_for(named_array(choice))


def line_axis(array: MicrophoneArray) -> float | None:
    """Degrees from the array's x axis to the line of a linear array; None of others."""
    if not array.is_linear:
        return None
    first, *_, last = array.as_array()
    along = last - first
    # The label says which way along the line 0 is, whatever the order of the microphones.
    if array.azimuth_of(along) > 90:
        along = -along
    return math.degrees(math.atan2(along[1], along[0]))


def _typed_array(typed: str) -> MicrophoneArray:
    example = "[[0.05, 0, 0], [0, 0.05, 0], [-0.05, 0, 0]]"
    try:
        content = json.loads(typed)
    except json.JSONDecodeError as error:
        raise InputError(
            f"positions: not JSON ({error.msg}, column {error.colno}); write metres such as "
            f"{example}"
        ) from error
    try:
        array = Positions.model_validate({"shape": "positions", "positions": content}).build()
    except ValidationError as error:
        raise InputError(f"{first_mistake(error)}; write metres such as {example}") from error
    if not np.isfinite(array.as_array()).all():
        raise InputError(f"positions: must be finite; write metres such as {example}")
    return array
