# SPDX-License-Identifier: Apache-2.0
"""Scenes in chosen rooms: rooms of a task are drawn until enough of them have a property."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from msdet.corpora import Corpus
from msdet.errors import InputError
from msdet.geometry import MicrophoneArray, angular_error
from msdet.simulation.config import SceneConfig
from msdet.simulation.rooms import Room, draw_room, random_generator
from msdet.simulation.scene import Scene, draw_scene

_ATTEMPTS = 300
"""Rooms drawn for each one that is wanted; with two speakers about one in twelve is opposite."""


def chosen_rooms(
    config: SceneConfig,
    array: MicrophoneArray,
    holds: Callable[[Room], bool],
    *,
    seed: int,
    key: Sequence[int],
    count: int,
    asked: str,
) -> Iterator[tuple[np.random.Generator, Room]]:
    """Rooms of a task that have a property, each with the generator that it came from.

    A function of its arguments alone. The generator can draw what else belongs to the room.

    Args:
        key: keys the generators, with ``seed`` and the number of the attempt, apart from others.
        asked: the setting that asks for ``count``, as errors name it.
    Raises:
        InputError: too few have it.
    """
    found = 0
    if not count:
        return
    for attempt in range(_ATTEMPTS * count):
        rng = random_generator(seed, *key, attempt)
        room = draw_room(config, array, rng)
        if holds(room):
            yield rng, room
            found += 1
            if found == count:
                return
    raise InputError(
        f"{asked}: not found among {_ATTEMPTS * count} rooms; widen scene.speaker.azimuth, or ask "
        "for fewer or none"
    )


def scene_in(
    room: Room,
    config: SceneConfig,
    array: MicrophoneArray,
    corpus: Corpus,
    *,
    seconds: float,
    **numbers: Any,
) -> Scene:
    """Draw the scene of these numbers, those of `draw_scene`, in a room and pose as they are."""
    config = config.model_copy(update={"use_symmetry": False})  # else its array would be turned
    length = round(seconds * corpus.sample_rate)
    return draw_scene(config, array, corpus, num_samples=length, room=room, **numbers)


def to_seam(room: Room) -> list[float]:
    """Each speaker's angle to 0 degrees, where azimuths begin anew; in [0, 180]."""
    return [float(angular_error(s.azimuth, 0.0)) for s in room.speakers]


def widest_angle(room: Room) -> float:
    """The largest angle between any two speakers, degrees in [0, 180]; 0 of one speaker."""
    azimuths = [s.azimuth for s in room.speakers]
    return max((float(angular_error(a, b)) for a, b in combinations(azimuths, 2)), default=0.0)
