# SPDX-License-Identifier: Apache-2.0
"""Rooms: a shoebox with an array and speakers in it, as plain numbers; and how they are drawn.

Labels come from geometry: they are read off the positions in the array's frame.
"""

from __future__ import annotations

import math
from collections import Counter
from functools import lru_cache
from typing import Any

import numpy as np
import scipy
from numpy.typing import NDArray

from msdet.errors import InputError
from msdet.geometry import MicrophoneArray, angular_error, rotate_about_vertical, wrap_degrees
from msdet.simulation.checks import check_ranges
from msdet.simulation.config import (
    MOST_ABSORPTION,
    MOST_SIGMAS,
    Backend,
    ImperfectionRanges,
    Range,
    Record,
    SceneConfig,
    observable_azimuths,
    sabine_absorption,
)

Point = tuple[float, float, float]

_ROOMS, _POSES = 50, 200
"""Attempts: rooms, and poses within each. A typical task needs 1 room and 3 poses."""

_TRIALS = 10
"""Rooms that are drawn to see that a config can be."""

_SPLITS = {"train": 0, "valid": 1, "test": 2}
POOL_ROOM, FRESH_ROOM, SPEECH, BACKGROUND, MISMATCH, RECORDER, PATHS = 0, 1, 2, 3, 4, 5, 6


class Placement(Record):
    """The place of a speaker.

    Attributes:
        azimuth, elevation: degrees in the array's frame, the azimuth as the array observes it.
        distance: to the array's centre, metres.
        position: in the room, metres.
    """

    azimuth: float
    elevation: float
    distance: float
    position: Point


class Room(Record):
    """A shoebox from (0, 0, 0) to `size` metres, with the pose of the array and the speakers.

    Attributes:
        t60: asked reverberation time, seconds; what comes out is measured on the responses.
        array_rotation: of the array's x axis from the room's x axis, degrees.
        noise_sources: where a point background comes from, metres.
        mic_errors: how far each microphone stands from its planned place, in the array's frame,
            metres; empty where none does.
        rirs, t60_per_octave: as in `SceneConfig`.
    """

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
        """The longest of all octaves, seconds."""
        return self.t60 * max(1.0, *(self.t60_per_octave or (1.0,)))

    def microphones(self, array: MicrophoneArray) -> NDArray[np.float64]:
        """Positions in the room, float64 ``[mic, 3]``, metres."""
        turned = rotate_about_vertical(self.real_positions(array), self.array_rotation)
        return np.add(turned, self.array_centre)

    def real_positions(self, array: MicrophoneArray) -> NDArray[np.float64]:
        """Return where the microphones stand in the array's frame, ``[mic, 3]``, metres."""
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
    """`MicrophoneArray.rotations`, computed once for each array."""
    return array.rotations()


def other_references(array: MicrophoneArray, reference_mic: int) -> tuple[int, ...]:
    """The microphones that a symmetry of an array makes the reference, ascending, without it."""
    found = {order[reference_mic] for _, order in symmetries(array)}
    return tuple(sorted(found - {reference_mic}))


def channel_order(room: Room, turned: Room, array: MicrophoneArray) -> tuple[int, ...]:
    """Return the microphone that each one hears as, if the array is turned by a symmetry of it."""
    turn = turned.array_rotation - room.array_rotation
    rotations = symmetries(array)
    nearest = int(angular_error([degrees for degrees, _ in rotations], turn).argmin())
    return rotations[nearest][1]


# --- drawing ------------------------------------------------------------------------------


def random_generator(seed: int, *key: int) -> np.random.Generator:
    """A generator that depends on nothing but these integers."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=key)))


def split_key(split: str) -> int:
    """A fixed integer for a split (Python's own hash of a string changes with every process)."""
    if split not in _SPLITS:
        raise InputError(f"split={split!r}: expected one of {', '.join(_SPLITS)}")
    return _SPLITS[split]


def check_scene_config(config: SceneConfig, array: MicrophoneArray) -> None:
    """Refuse what cannot be drawn, before any work starts.

    Raises:
        InputError: names the key, its value and what would be possible.
    """
    check_ranges(config, array)
    for trial in range(_TRIALS):
        draw_room(config, array, random_generator(trial))


def pool_room(
    config: SceneConfig, array: MicrophoneArray, *, seed: int, split: str, room_index: int
) -> Room:
    """Room `room_index` of the fixed set of rooms that scenes share when they reuse rooms."""
    rng = random_generator(seed, split_key(split), POOL_ROOM, room_index)
    return draw_room(config, array, rng)


def draw_room(config: SceneConfig, array: MicrophoneArray, rng: np.random.Generator) -> Room:
    """Draw a room with an array and speakers.

    Azimuths are uniform in the array's frame (under the smallest angle between any two): where
    they do not fit between the walls the pose and the distances are drawn again, not the azimuths.

    Raises:
        InputError: nothing fits after many attempts; names the key that stood in the way.
    """
    reasons: Counter[str] = Counter()
    for _ in range(_ROOMS):
        count = int(rng.integers(config.num_speakers[0], config.num_speakers[1] + 1))
        ranges = (config.room.length, config.room.width, config.room.height)
        size = (_uniform(rng, ranges[0]), _uniform(rng, ranges[1]), _uniform(rng, ranges[2]))
        t60 = _uniform(rng, config.t60)
        shortest = t60 * min(config.t60_per_octave or (1.0,))
        absorption = sabine_absorption(size, shortest)
        if config.rirs != "anechoic" and absorption > MOST_ABSORPTION:
            reasons["t60"] += _POSES
            continue
        azimuths = _draw_azimuths(config, array, count, rng)
        if azimuths is None:
            reasons["speaker.min_angle"] += _POSES
            continue
        for _ in range(_POSES):
            room = _draw_pose(config, array, size, t60, azimuths, rng)
            if isinstance(room, Room):
                return _complete(config, array, room, rng)
            reasons[room] += 1
    key = reasons.most_common(1)[0][0]
    value: object = config
    for part in key.split("."):
        value = getattr(value, part)
    shown = list(value) if isinstance(value, tuple) else value
    raise InputError(
        f"scene.{key}={shown}: no room was found in {_ROOMS * _POSES} attempts; "
        + ("ask for longer ones" if key == "t60" else "widen this range or make rooms larger")
    )


def draw_symmetry(
    config: SceneConfig, array: MicrophoneArray, room: Room, rng: np.random.Generator
) -> Room:
    """The room with its array turned by one of its symmetries, such that azimuths stay in range."""
    count = 1 if room.mic_errors else len(symmetries(array))
    low, high = observable_azimuths(config, array)
    turns = [index * 360.0 / count for index in range(count)]
    if high - low < 360:
        azimuths = np.array([s.azimuth for s in room.speakers])
        turns = [t for t in turns if t == 0 or ((azimuths - t - low) % 360 <= high - low).all()]
    turn = turns[int(rng.integers(len(turns)))]
    return rotated(room, array, turn) if turn else room


def _uniform(rng: np.random.Generator, bounds: Range, digits: int = 4) -> float:
    """Rounded, so that scene files are short and the same on every processor."""
    return min(max(round(float(rng.uniform(*bounds)), digits), bounds[0]), bounds[1])


def _draw_azimuths(
    config: SceneConfig, array: MicrophoneArray, count: int, rng: np.random.Generator
) -> list[float] | None:
    """Exactly uniform under the smallest angle: draw without it, then push the points apart."""
    low, high = observable_azimuths(config, array)
    gap = config.speaker.min_angle * (1 + 1e-6)
    if high - low >= 360:
        free = np.sort(rng.uniform(0.0, 360.0 - count * gap, count - 1))
        first = rng.uniform(0.0, 360.0)
        azimuths = first + np.concatenate([[0.0], free + gap * np.arange(1, count)])
    else:
        free = np.sort(rng.uniform(0.0, max(high - low - (count - 1) * gap, 0.0), count))
        azimuths = low + free + gap * np.arange(count)
        if not array.is_linear and azimuths[0] + 360.0 - azimuths[-1] < gap:
            return None
    return [float(a) for a in wrap_degrees(rng.permutation(azimuths))]


def _centre_range(config: SceneConfig, side: float) -> Range:
    """Return where the array's centre may be along a side of the room, metres."""
    low, high = config.array.wall_distance, side - config.array.wall_distance
    offset = config.array.offset
    return (
        (low, high)
        if offset is None
        else (max(low, side / 2 - offset), min(high, side / 2 + offset))
    )


def _complete(
    config: SceneConfig, array: MicrophoneArray, room: Room, rng: np.random.Generator
) -> Room:
    """The room with what a config adds beyond its pose."""
    background, imperfections = config.background, config.imperfections
    added: dict[str, Any] = {"rirs": config.rirs, "t60_per_octave": config.t60_per_octave}
    if "point" in background.kinds:
        count = int(rng.integers(background.sources[0], background.sources[1] + 1))
        wall = config.speaker.wall_distance
        inside = [(wall, side - wall) for side in room.size]
        added["noise_sources"] = tuple(
            tuple(_uniform(rng, bounds) for bounds in inside) for _ in range(count)
        )
    if imperfections.moves_microphones:
        added["mic_errors"] = _draw_mic_errors(imperfections, array, rng)
    return room.model_copy(update=added)


def _draw_mic_errors(
    imperfections: ImperfectionRanges, array: MicrophoneArray, rng: np.random.Generator
) -> tuple[Point, ...]:
    """From planned to real places, metres, in the array's frame: turned and tilted, then moved."""
    angles = rng.uniform(-1, 1, 3) * [
        imperfections.tilt,
        imperfections.tilt,
        imperfections.rotation,
    ]
    planned = array.as_array()
    turned = scipy.spatial.transform.Rotation.from_euler("xyz", angles, degrees=True).apply(planned)
    errors = np.clip(rng.standard_normal(planned.shape), -MOST_SIGMAS, MOST_SIGMAS)
    moved = turned + imperfections.position * errors
    return tuple((x, y, z) for x, y, z in (moved - planned).round(6).tolist())


def _draw_pose(
    config: SceneConfig,
    array: MicrophoneArray,
    size: Point,
    t60: float,
    azimuths: list[float],
    rng: np.random.Generator,
) -> Room | str:
    """A room, or the key that stood in the way."""
    wall = config.speaker.wall_distance
    rotation = _uniform(rng, config.array.rotation) % 360.0
    centre = (
        _uniform(rng, _centre_range(config, size[0])),
        _uniform(rng, _centre_range(config, size[1])),
        _uniform(rng, config.array.height),
    )
    c, s = math.cos(math.radians(rotation)), math.sin(math.radians(rotation))
    positions: list[Point] = []
    for azimuth in azimuths:
        if config.speaker.distance_law == "distance":
            distance = _uniform(rng, config.speaker.distance)
        else:
            low, high = config.speaker.distance
            distance = round(math.sqrt(rng.uniform(low**2, high**2)), 4)
        z = _uniform(rng, config.speaker.height_offset)
        side = 1.0 if rng.random() < 0.5 else -1.0
        if array.is_linear:
            x = distance * math.cos(math.radians(azimuth))
            y_squared = distance**2 - x**2 - z**2
        else:
            flat = math.sqrt(max(distance**2 - z**2, 0.0))
            x = flat * math.cos(math.radians(azimuth))
            y_squared, side = flat**2 - x**2, 1.0 if azimuth <= 180.0 else -1.0
        if y_squared < 0:
            return "speaker.height_offset"
        y = side * math.sqrt(y_squared)
        point = (centre[0] + c * x - s * y, centre[1] + s * x + c * y, centre[2] + z)
        if not all(wall <= p <= end - wall for p, end in zip(point, size, strict=True)):
            inside_height = wall <= point[2] <= size[2] - wall
            return "speaker.distance" if inside_height else "speaker.height_offset"
        positions.append((round(point[0], 6), round(point[1], 6), round(point[2], 6)))
    speakers = tuple(place(array, centre, rotation, p) for p in positions)
    labels = np.array([p.azimuth for p in speakers])
    between = angular_error(labels[:, None], labels, array.is_linear)
    others = ~np.eye(len(labels), dtype=bool)
    if between.min(initial=np.inf, where=others) < config.speaker.min_angle:
        return "speaker.min_angle"
    return Room(size=size, t60=t60, array_centre=centre, array_rotation=rotation, speakers=speakers)
