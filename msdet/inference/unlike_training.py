# SPDX-License-Identifier: Apache-2.0
"""Arrays that a model takes, and that nothing in its training was like; and what it needs."""

from __future__ import annotations

import numpy as np

from msdet.checkpoints import Description
from msdet.geometry import MicrophoneArray
from msdet.named_arrays import named_arrays

_APERTURE_RATIO = 2.0
"""Of the largest aperture in training: wider arrays are warned of."""
_HEIGHT_METRES = 0.01
"""Heights that differ by less are those of a real array that is meant to be flat."""


def needs(description: Description) -> str:
    """What microphones a model needs, in words."""
    if not description.model.frontend.any_array:
        return f"those that it was trained with, of array {description.array.name!r}"
    if description.array.is_linear:
        return "two or more microphones on a line"
    return "three or more microphones that are not on one line"


def how_to_train(array: MicrophoneArray | None, linear: bool) -> str:
    """The command that trains a first model for such microphones, in a sentence."""
    known = [name for name, known in named_arrays().items() if array and _same(known, array)]
    name = known[0] if known else "FILE.json"
    places = "" if known else " (their positions [[x, y, z], ...] in metres)"
    # The quickstart's own assignment goes around a circle.
    more = " criterion.assignment=azimuth" if linear else ""
    return f"train one for yours: msdet train experiment=quickstart array={name}{more}{places}"


def unlike_training(array: MicrophoneArray, description: Description) -> list[str]:
    """A sentence for each way in which an array is unlike those of training: much wider, or with
    microphones at different heights. None of the figures of a model are about such arrays."""
    more = description.trained_with.data.arrays
    trained = [description.array, *(shape.build() for shape in more.shapes)]
    # Those that were drawn are planar. Their own module would take seconds to import.
    disc = 2 * max(more.radius) if more.drawn else 0.0
    largest = max(disc, *(known.aperture for known in trained))
    tallest = max(map(_height, trained))
    sentences = []
    if array.aperture > _APERTURE_RATIO * largest:
        sentences.append(
            f"array {array.name}: microphones are up to {array.aperture:.2g} m apart, in training "
            f"they were {largest:.2g} m at most; do not trust what is found"
        )
    if _height(array) > tallest + _HEIGHT_METRES:
        flat = "all at one height" if tallest < _HEIGHT_METRES else f"{tallest:.2g} m at most"
        sentences.append(
            f"array {array.name}: microphones are up to {_height(array):.2g} m above one another, "
            f"in training they were {flat}; do not trust what is found"
        )
    return sentences


def _same(array: MicrophoneArray, other: MicrophoneArray) -> bool:
    return array.positions == other.positions


def _height(array: MicrophoneArray) -> float:
    return float(np.ptp(array.as_array()[:, 2]))
