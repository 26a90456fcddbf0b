# SPDX-License-Identifier: Apache-2.0
"""Speakers who walk: where each of them is at what time, and how such paths are drawn."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import Field, model_validator

from msdet.geometry import MicrophoneArray, rotate_about_vertical
from msdet.simulation.config import Record, SceneConfig, observable_azimuths
from msdet.simulation.rooms import Point, Room

_KNOT_SECONDS = 0.1
_TARGETS = 50
"""Draws of a place to walk to. Who finds none that can be reached stays."""


class SpeakerPath(Record):
    """Where a speaker is over time: straight lines between knots, the first and last place before
    and after them.

    Attributes:
        speaker: number in the room.
        times: seconds from the scene's start, ascending. positions: in the room, metres.
    """

    speaker: int = Field(ge=0)
    times: tuple[float, ...]
    positions: tuple[Point, ...]

    @model_validator(mode="after")
    def _one_way_through_time(self) -> SpeakerPath:
        if len(self.times) != len(self.positions) or not self.times:
            raise ValueError(
                f"speaker {self.speaker}: {len(self.times)} times and {len(self.positions)} "
                "positions; a path has one of each, at least"
            )
        for before, after in zip(self.times, self.times[1:], strict=False):
            if not after > before:
                raise ValueError(
                    f"speaker {self.speaker}: time {after:g} s comes after {before:g} s; times of "
                    "a path ascend"
                )
        return self

    def at(self, seconds: ArrayLike) -> NDArray[np.float64]:
        """Return positions ``[..., 3]`` at times ``[...]``, metres."""
        moments, places = np.asarray(seconds, np.float64), np.asarray(self.positions, np.float64)
        return np.stack([np.interp(moments, self.times, axis) for axis in places.T], axis=-1)


def draw_paths(
    config: SceneConfig,
    array: MicrophoneArray,
    room: Room,
    seconds: float,
    rng: np.random.Generator,
) -> tuple[SpeakerPath, ...]:
    """Draw paths of those who move: they stand, walk straight to another place, and stand again.

    All places are in the ranges of `scene.speaker`, seen from the array; nobody comes nearer to it
    than these allow. Two speakers may cross.
    """
    movement = config.movement
    if movement is None:
        return ()
    paths = []
    for number, speaker in enumerate(room.speakers):
        if rng.uniform() >= movement.share:
            continue
        times, places = [0.0], [speaker.position]
        while times[-1] < seconds:
            target = _place_to_go(config, array, room, places[-1], rng)
            if target is None:
                break
            pause, speed = rng.uniform(*movement.pause), rng.uniform(*movement.speed)
            _walk(times, places, target, float(pause), float(speed))
        if len(times) > 1:
            paths.append(SpeakerPath(speaker=number, times=tuple(times), positions=tuple(places)))
    return tuple(paths)


def _walk(
    times: list[float], places: list[Point], target: Point, pause: float, speed: float
) -> None:
    """Stand, then walk with a mean speed, starting and stopping gently."""
    start, origin = round(times[-1] + pause, 3), np.array(places[-1])
    if start > times[-1]:
        times.append(start)
        places.append(places[-1])
    way = np.array(target) - origin
    duration = max(float(np.linalg.norm(way)) / speed, _KNOT_SECONDS)
    steps = math.ceil(duration / _KNOT_SECONDS)
    for share in np.arange(1, steps + 1) / steps:
        there = origin + way * (0.5 - 0.5 * math.cos(math.pi * share))
        times.append(round(start + duration * float(share), 3))
        places.append(_rounded(there))


def _place_to_go(
    config: SceneConfig,
    array: MicrophoneArray,
    room: Room,
    origin: Point,
    rng: np.random.Generator,
) -> Point | None:
    """A place in the ranges of the speakers, at the origin's height, and a free way to it."""
    ranges = config.speaker
    height = origin[2] - room.array_centre[2]
    nearest = math.sqrt(max(ranges.distance[0] ** 2 - height**2, 0.0))
    for _ in range(_TARGETS):
        azimuth = float(rng.uniform(*observable_azimuths(config, array)))
        if array.is_linear and rng.random() < 0.5:  # behind is as in front
            azimuth = -azimuth
        distance = float(rng.uniform(*ranges.distance))
        flat = math.sqrt(max(distance**2 - height**2, 0.0))
        angle = math.radians(azimuth + _axis_degrees(array))
        offset = (flat * math.cos(angle), flat * math.sin(angle), height)
        turned = rotate_about_vertical(np.array(offset), room.array_rotation)
        there = _rounded(np.add(turned, room.array_centre))
        wall = ranges.wall_distance
        inside = all(wall <= x <= side - wall for x, side in zip(there, room.size, strict=True))
        if inside and _closest(origin, there, room.array_centre) >= nearest:
            return there
    return None


def _axis_degrees(array: MicrophoneArray) -> float:
    """Where azimuth 0 of a line points in the array's frame; 0 of others."""
    axis = array.axis
    if axis is None:
        return 0.0
    x, y, _ = axis
    return math.degrees(math.atan2(y, x))


def _closest(origin: Sequence[float], target: Sequence[float], centre: Sequence[float]) -> float:
    """How near a straight way comes to the array, in the horizontal plane, metres."""
    a, b, c = (np.asarray(point[:2], np.float64) for point in (origin, target, centre))
    way = b - a
    share = np.clip((c - a) @ way / max(float(way @ way), 1e-12), 0.0, 1.0)
    return float(np.linalg.norm(a + share * way - c))


def _rounded(place: NDArray[np.float64]) -> Point:
    x, y, z = place.round(4).tolist()
    return (x, y, z)
