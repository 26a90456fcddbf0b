# SPDX-License-Identifier: Apache-2.0
"""Rooms: a shoebox with an array and speakers in it, as plain numbers."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from msdet.geometry import MicrophoneArray, rotate_about_vertical, wrap_degrees
from msdet.simulation.config import (
    Backend,
)

Point = tuple[float, float, float]


class Placement(BaseModel):
    """Where one speaker stands.

    Attributes:
        azimuth, elevation: degrees in the array's frame, the azimuth as the array observes it.
        distance: to the array's centre, metres.
        position: in the room, metres.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    azimuth: float
    elevation: float
    distance: float
    position: Point


class Room(BaseModel):
    """A shoebox from (0, 0, 0) to `size` metres, with the pose of the array and the speakers.

    Attributes:
        t60: asked reverberation time, seconds; what comes out is measured on the responses.
        array_rotation: of the array's x axis from the room's x axis, degrees.
        noise_sources: where a point background comes from, metres.
        mic_errors: how far each microphone stands from its planned place, in the array's frame,
            metres; empty where none does.
        rirs, t60_per_octave: as in `SceneConfig`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: Point
    t60: float
    array_centre: Point
    array_rotation: float
    speakers: tuple[Placement, ...]
    noise_sources: tuple[Point, ...] = ()
    mic_errors: tuple[Point, ...] = ()
    rirs: Backend = "exact"
    t60_per_octave: tuple[float, ...] | None = None

    @property
    def longest_t60(self) -> float:
        """Of all octaves, seconds."""
        return self.t60 * max(1.0, *(self.t60_per_octave or (1.0,)))

    def microphones(self, array: MicrophoneArray) -> NDArray[np.float64]:
        """Positions in the room, float64 ``[mic, 3]``, metres."""
        turned = rotate_about_vertical(self.real_positions(array), self.array_rotation)
        return np.add(turned, self.array_centre)

    def real_positions(self, array: MicrophoneArray) -> NDArray[np.float64]:
        """Where the microphones stand in the array's frame, ``[mic, 3]``, metres."""
        planned = array.as_array()
        return planned + np.asarray(self.mic_errors) if self.mic_errors else planned

    def acoustics(self) -> dict[str, Any]:
        """All that shapes its responses, as plain data: everything but labels."""
        return {
            **self.model_dump(mode="json", exclude={"speakers"}),
            "speakers": [s.position for s in self.speakers],
        }


def place(array: MicrophoneArray, centre: Point, rotation: float, position: Point) -> Placement:
    """The labels of a position in a room, for an array of this pose."""
    vector = rotate_about_vertical(np.subtract(position, centre), -rotation)
    distance = float(np.linalg.norm(vector))
    return Placement(
        azimuth=float(array.azimuth_of(vector)),
        elevation=math.degrees(math.asin(max(-1.0, min(1.0, vector[2] / distance)))),
        distance=distance,
        position=position,
    )


def rotated(room: Room, array: MicrophoneArray, degrees: float) -> Room:
    """The room with its array turned counter-clockwise: azimuths fall by as much."""
    rotation = float(wrap_degrees(room.array_rotation + degrees))
    speakers = (place(array, room.array_centre, rotation, s.position) for s in room.speakers)
    return room.model_copy(update={"array_rotation": rotation, "speakers": tuple(speakers)})


def canonical(room: Room, array: MicrophoneArray) -> tuple[Room, tuple[int, ...]]:
    """The one pose that stands for all that differ by a symmetry of the array.

    Returns:
        The room with its array turned by less than one step of the array's symmetry (without new
        labels), and the permutation that gives the asked room's responses when its microphones
        are read in that order.
    """
    rotations = symmetries(array)
    if room.mic_errors:  # an array that is not quite symmetric
        return room, rotations[0][1]
    step = 360.0 / len(rotations)
    index = int(room.array_rotation // step)
    rest = round(room.array_rotation - index * step, 6)
    if rest >= round(step, 6):
        index, rest = index + 1, 0.0
    _, permutation = rotations[index % len(rotations)]
    return room.model_copy(update={"array_rotation": rest}), permutation


@lru_cache(maxsize=16)
def symmetries(array: MicrophoneArray) -> tuple[tuple[float, tuple[int, ...]], ...]:
    return array.rotations()
