# SPDX-License-Identifier: Apache-2.0
"""The rooms that are measured; every measurement draws its own, from its own seed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from msdet.geometry import Circle, MicrophoneArray
from msdet.simulation import Rirs, Room, SceneConfig, compute_rirs, draw_room

RATE = 16000
CIRCLE = Circle(shape="circle", num_mics=4, radius=0.05).build()
SIZES = {"small": (3.6, 3.0, 2.5), "medium": (6.0, 5.0, 3.0), "large": (9.0, 8.0, 3.5)}
"""Metres."""
ANY_SIZE = {"length": (3.5, 9.0), "width": (3.0, 8.0), "height": (2.4, 4.0)}
Array = NDArray[np.float64]
Size = tuple[float, float, float]


def rooms(
    count: int,
    seed: int,
    array: MicrophoneArray = CIRCLE,
    size: Size | None = None,
    **config: Any,
) -> Iterator[Room]:
    """Rooms with two speakers each, of one size or of any."""
    sides = ANY_SIZE
    if size is not None:
        sides = {k: (s, s) for k, s in zip(ANY_SIZE, size, strict=True)}
    ranges = SceneConfig.model_validate({"room": sides, **config})
    for index in range(count):
        yield draw_room(ranges, array, np.random.default_rng((seed, index)))


def by(backend: str, room: Room, array: MicrophoneArray = CIRCLE, rate: int = RATE) -> Rirs:
    """The responses of a room by one backend."""
    return compute_rirs(room.model_copy(update={"rirs": backend}), array, rate)


def distances(room: Room, array: MicrophoneArray = CIRCLE) -> Array:
    """Speakers to microphones ``[speaker, mic]``, metres."""
    speakers = np.array([s.position for s in room.speakers])
    return np.asarray(np.linalg.norm(speakers[:, None] - room.microphones(array), axis=-1))
