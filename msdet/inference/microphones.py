# SPDX-License-Identifier: Apache-2.0
"""The microphones that a model serves, and words for where it does not, or hardly."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from msdet.checkpoints import Description
from msdet.errors import InputError
from msdet.geometry import MicrophoneArray
from msdet.named_arrays import check_metres, find_array, named_arrays
from msdet.shipped import default_model

ArrayLike = MicrophoneArray | Sequence[Sequence[float]] | str | Path
"""An array or the name of one, positions ``[mic][3]`` in metres, or a file of them."""

_APERTURE_RATIO = 2.0
"""Multiple of the largest aperture in training: wider arrays are warned of."""
_HEIGHT_METRES = 0.01
"""Heights that differ by less are those of a real array that is meant to be flat."""


def served_array(given: ArrayLike | None, description: Description) -> MicrophoneArray:
    """Return the microphones, seen to be such as a model serves; None gives those of training.

    Raises:
        InputError: it does not serve them, or they are no microphones.
    """
    trained = description.array
    if given is None:
        return trained
    array = _as_array(given)
    check_metres(array)
    if not description.model.frontend.any_array and array.positions != trained.positions:
        raise InputError(
            f"array {array.name!r}: this model's frontend 'ri' serves only the array that it "
            f"was trained with ({trained.name!r}); the frontend 'directional' serves any; "
            f"{how_to_train(array, array.is_linear)}"
        )
    if description.reference_mic >= array.num_mics:
        raise InputError(
            f"array {array.name!r}: has {array.num_mics} microphones, but this model's "
            f"reference is microphone {description.reference_mic}"
        )
    if array.is_linear != trained.is_linear:
        kind = "on a line" if array.is_linear else "not on a line"
        raise InputError(
            f"array {array.name!r}: its {array.num_mics} microphones are {kind}, and this "
            f"model needs {needs(description)}; {other_model(array)}"
        )
    return array


def _as_array(given: ArrayLike) -> MicrophoneArray:
    if isinstance(given, MicrophoneArray):
        return given
    if isinstance(given, str | Path):
        return find_array(str(given))
    try:
        positions = tuple(tuple(float(x) for x in point) for point in given)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"array: positions are [[x, y, z], ...] in metres, got {given!r}"
        ) from error
    return MicrophoneArray("custom", positions)  # type: ignore[arg-type]


def needs(description: Description) -> str:
    """Say in words what microphones a model needs."""
    if not description.model.frontend.any_array:
        return f"those that it was trained with, of array {description.array.name!r}"
    if description.array.is_linear:
        return "two or more microphones on a line"
    return "three or more microphones that are not on one line"


def other_model(array: MicrophoneArray | None) -> str:
    """Return, in a sentence, what serves microphones that a model does not, being on a line or not.

    Args:
        array: None for two microphones that are not known.
    """
    linear = array is None or array.is_linear
    name = default_model(linear).name
    if name == default_model(not linear).name:
        return how_to_train(array, linear)
    kind = "two microphones and those on a line" if linear else "those that are not on one line"
    return f"checkpoint={name} is for {kind}"


def how_to_train(array: MicrophoneArray | None, linear: bool) -> str:
    """Return the command that trains a first model for such microphones, in a sentence."""
    known = [
        name
        for name, known in named_arrays().items()
        if array is not None and array.positions == known.positions
    ]
    name = known[0] if known else "FILE.json"
    places = "" if known else " (their positions [[x, y, z], ...] in metres)"
    # The quickstart's own assignment goes around a circle.
    more = " criterion.assignment=azimuth" if linear else ""
    return f"train one for yours: msdet train experiment=quickstart array={name}{more}{places}"


def unlike_training(array: MicrophoneArray, description: Description) -> list[str]:
    """Return a sentence for each way in which an array is unlike those of training: much wider, or
    with microphones at different heights. None of the figures of a model are about such arrays."""
    more = description.trained_with.data.arrays
    trained = [description.array, *(shape.build() for shape in more.shapes)]
    # Those that were drawn are planar. Their own module would take seconds to import.
    disc = 2 * max(more.radius) if more.drawn else 0.0
    largest = max(disc, *(known.aperture for known in trained))
    tallest, height = max(map(_height, trained)), _height(array)
    sentences = []
    if array.aperture > _APERTURE_RATIO * largest:
        sentences.append(
            f"array {array.name}: microphones are up to {array.aperture:.2g} m apart, in training "
            f"they were {largest:.2g} m at most; do not trust what is found"
        )
    if height > tallest + _HEIGHT_METRES:
        flat = "all at one height" if tallest < _HEIGHT_METRES else f"{tallest:.2g} m at most"
        sentences.append(
            f"array {array.name}: microphones are up to {height:.2g} m above one another, "
            f"in training they were {flat}; do not trust what is found"
        )
    return sentences


def _height(array: MicrophoneArray) -> float:
    return float(np.ptp(array.as_array()[:, 2]))
