# SPDX-License-Identifier: Apache-2.0
"""Arrays that a model takes, and that nothing in its training was like."""

from __future__ import annotations

from typing import Any

import numpy as np
from pydantic import TypeAdapter

from msdet.checkpoints import Description
from msdet.geometry import ArrayConfig, MicrophoneArray

_APERTURE_RATIO = 2.0
"""Of the largest aperture in training: wider arrays are warned of."""
_HEIGHT_METRES = 0.01
"""Heights that differ by less are those of a real array that is meant to be flat."""


def unlike_training(array: MicrophoneArray, description: Description) -> list[str]:
    """A sentence for each way in which an array is unlike those of training: much wider, or with
    microphones at different heights. None of the figures of a model are about such arrays."""
    more: dict[str, Any] = description.config.get("data", {}).get("arrays") or {}
    adapter: TypeAdapter[Any] = TypeAdapter(ArrayConfig)
    shapes = [adapter.validate_python(shape).build() for shape in more.get("shapes", ())]
    trained: list[MicrophoneArray] = [description.array, *shapes]
    # Those that were drawn are planar. Their own module would take seconds to import.
    disc = 2 * max(more["radius"]) if more.get("drawn") else 0.0
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


def _height(array: MicrophoneArray) -> float:
    return float(np.ptp(array.as_array()[:, 2]))
