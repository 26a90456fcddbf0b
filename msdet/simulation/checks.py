# SPDX-License-Identifier: Apache-2.0
"""Refuses ranges of scenes that contradict each other or do not fit, before anything is drawn."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from pydantic import BaseModel

from msdet.errors import InputError, shortened
from msdet.geometry import SPEED_OF_SOUND, MicrophoneArray
from msdet.simulation.config import (
    MOST_ABSORPTION,
    MOST_DECIBELS,
    MOST_SIGMAS,
    MOST_SPEAKERS,
    OCTAVES_HZ,
    SceneConfig,
    observable_azimuths,
    sabine_absorption,
)

MOST_IMAGES = 5_000_000
"""Image sources of one speaker: more need gigabytes and a minute per room."""


def check_ranges(config: SceneConfig, array: MicrophoneArray) -> None:
    """Refuse ranges that contradict each other, without drawing anything.

    Raises:
        InputError: names the key, its value and what would be possible.
    """
    _check_ranges(config)
    _check_levels(config, array)
    _check_octaves(config)
    _check_background(config)
    _check_t60(config)
    _check_array_fits(config, array)
    _check_speakers_fit(config)
    _check_min_angle(config, array)


def _refuse(key: str, value: object, expected: str) -> InputError:
    shown = list(value) if isinstance(value, tuple) else value
    return InputError(f"scene.{key}={shortened(str(shown))}: {expected}")


_ABOVE_ZERO = ("room.length", "room.width", "room.height", "t60", "speaker.distance")
_FROM_ZERO = {
    "array.wall_distance": math.inf,
    "array.offset": math.inf,
    "speaker.wall_distance": math.inf,
    "speaker.min_angle": 360.0,
    "imperfections.gain_db": MOST_DECIBELS / MOST_SIGMAS,
    "imperfections.phase": 360.0,
    "imperfections.position": 1.0,
    "imperfections.rotation": 180.0,
    "imperfections.tilt": 90.0,
}
"""And the most that they can mean."""

_MOST_TURNS = 10
_MOST_VOICES = 100
"""Sources of a background: each is rendered like a speaker."""
_DECIBELS = ("level_db", "snr_db", "background.snr_db")
_NO_RANGES = ("t60_per_octave", "background.kinds")


def _check_ranges(config: SceneConfig) -> None:
    for key, value in _flat(config):
        if value is None or key in _NO_RANGES:
            continue
        values = value if isinstance(value, tuple) else (value,)
        if not all(isinstance(v, str) or math.isfinite(v) for v in values):
            raise _refuse(key, value, "expected finite numbers")
        if isinstance(value, tuple) and value[0] > value[1]:
            raise _refuse(key, value, f"a range is [low, high]; did you mean {list(value)[::-1]}?")
        if key in _ABOVE_ZERO and not min(values) > 0:
            raise _refuse(key, value, "expected numbers above 0")
        if key in _DECIBELS and not max(map(abs, values)) <= MOST_DECIBELS:
            raise _refuse(key, value, f"expected -{MOST_DECIBELS:g} to {MOST_DECIBELS:g} dB")
        if key in _FROM_ZERO and not min(values) >= 0:
            raise _refuse(key, value, "expected 0 or more")
        if key in _FROM_ZERO and not max(values) <= _FROM_ZERO[key]:
            raise _refuse(key, value, f"expected at most {_FROM_ZERO[key]:g}")
        if key == "array.rotation" and not max(map(abs, values)) <= 360 * _MOST_TURNS:
            raise _refuse(key, value, f"expected degrees, up to {_MOST_TURNS} turns")


def _flat(record: BaseModel, prefix: str = "") -> list[tuple[str, Any]]:
    """All keys with a dot between levels, and their values."""
    found: list[tuple[str, Any]] = []
    for name in type(record).model_fields:
        value = getattr(record, name)
        if isinstance(value, BaseModel):
            found += _flat(value, f"{prefix}{name}.")
        else:
            found.append((prefix + name, value))
    return found


def _check_levels(config: SceneConfig, array: MicrophoneArray) -> None:
    if config.num_speakers[0] < 1 or config.num_speakers[1] > MOST_SPEAKERS:
        raise _refuse("num_speakers", config.num_speakers, f"expected 1 to {MOST_SPEAKERS}")
    if config.overlap[0] < 0 or config.overlap[1] > 1:
        raise _refuse("overlap", config.overlap, "expected shares from 0 to 1")
    if not 0 <= config.reference_mic < array.num_mics:
        raise _refuse(
            "reference_mic",
            config.reference_mic,
            f"array {array.name!r} has microphones 0 to {array.num_mics - 1}",
        )


def _check_octaves(config: SceneConfig) -> None:
    factors = config.t60_per_octave
    if factors is None:
        return
    if len(factors) != len(OCTAVES_HZ) or not all(math.isfinite(f) and f > 0 for f in factors):
        bands = ", ".join(f"{hertz:g}" for hertz in OCTAVES_HZ)
        raise _refuse(
            "t60_per_octave",
            factors,
            f"expected {len(OCTAVES_HZ)} factors above 0, for {bands} Hz",
        )


def _check_background(config: SceneConfig) -> None:
    background = config.background
    for key in ("talkers", "sources"):
        value = getattr(background, key)
        if not 1 <= value[0] <= value[1] <= _MOST_VOICES:
            raise _refuse(f"background.{key}", value, f"expected 1 to {_MOST_VOICES}")
    if background.recordings is not None and not {"diffuse", "point"} & set(background.kinds):
        raise _refuse(
            "background.recordings",
            background.recordings,
            "is for scene.background.kinds diffuse and point",
        )


def _check_t60(config: SceneConfig) -> None:
    """The shortest T60 in the largest room asks for the most absorption, the longest T60 in the
    smallest room for the most image sources."""
    if config.rirs == "anechoic":
        return
    factors = config.t60_per_octave or (1.0,)
    largest = [r[1] for r in (config.room.length, config.room.width, config.room.height)]
    absorption = sabine_absorption(largest, config.t60[0] * min(factors))
    if absorption > MOST_ABSORPTION:
        shortest = math.ceil(absorption * config.t60[0] * 1000) / 1000
        size = " x ".join(f"{x:g}" for x in largest)
        raise _refuse(
            "t60",
            config.t60,
            f"not reachable in a room of {size} m (walls would have to absorb "
            f"{100 * absorption:.0f} %); ask for at least {shortest:g} s or for smaller rooms",
        )
    if config.rirs == "hybrid":
        return
    smallest = [r[0] for r in (config.room.length, config.room.width, config.room.height)]
    reach = (MOST_IMAGES * math.prod(smallest) * 3 / (4 * math.pi)) ** (1 / 3)
    longest = config.t60[1] * max(1.0, *factors)
    if longest * SPEED_OF_SOUND > reach:
        size = " x ".join(f"{x:g}" for x in smallest)
        possible = config.t60[1] * reach / (longest * SPEED_OF_SOUND)
        raise _refuse(
            "t60",
            config.t60,
            f"too long for the image-source method in a room of {size} m; ask for at most "
            f"{math.floor(100 * possible) / 100:g} s, for larger rooms, or for scene.rirs=hybrid",
        )


def _check_array_fits(config: SceneConfig, array: MicrophoneArray) -> None:
    points = array.as_array()
    imperfections = config.imperfections
    error = MOST_SIGMAS * imperfections.position
    reach = np.linalg.norm(points, axis=1).max()
    radius = np.hypot(points[:, 0], points[:, 1]).max() + error
    extent = np.abs(points[:, 2]).max() + error
    if imperfections.tilt:
        radius, extent = reach + error, extent + reach * math.sin(math.radians(imperfections.tilt))
    if config.array.wall_distance <= radius:
        moved = (
            ", as far as scene.imperfections move them" if imperfections.moves_microphones else ""
        )
        raise _refuse(
            "array.wall_distance",
            config.array.wall_distance,
            f"the microphones of array {array.name!r} reach {radius:.3g} m from its centre{moved}",
        )
    for side in ("length", "width"):
        smallest = getattr(config.room, side)[0]
        if 2 * config.array.wall_distance > smallest:
            raise _refuse(
                "array.wall_distance",
                config.array.wall_distance,
                f"the array does not fit between walls {smallest:g} m apart (scene.room.{side})",
            )
    low, high = config.array.height
    ceiling = config.room.height[0]
    if low - extent <= 0 or high + extent >= ceiling:
        raise _refuse(
            "array.height",
            config.array.height,
            f"expected between floor and ceiling ({ceiling:g} m)",
        )


def _check_speakers_fit(config: SceneConfig) -> None:
    speaker, room = config.speaker, config.room
    low, high = speaker.height_offset
    if max(0.0, low, -high) >= speaker.distance[0] * 0.999:
        raise _refuse(
            "speaker.height_offset",
            speaker.height_offset,
            f"higher than the smallest scene.speaker.distance ({speaker.distance[0]:g} m)",
        )
    margins = config.array.wall_distance + speaker.wall_distance
    for corner, distance in ((0, speaker.distance[0]), (1, speaker.distance[1])):
        sides = (room.length[corner] - margins, room.width[corner] - margins)
        reach = math.hypot(max(sides[0], 0.0), max(sides[1], 0.0))
        flat = math.sqrt(max(distance**2 - max(abs(low), abs(high)) ** 2, 0.0))
        if min(sides) <= 0 or flat > reach:
            size = f"{room.length[corner]:g} x {room.width[corner]:g} m"
            raise _refuse(
                "speaker.distance",
                speaker.distance,
                f"speakers at {distance:g} m do not fit in a room of {size} with the array "
                f"{config.array.wall_distance:g} m and speakers {speaker.wall_distance:g} m from "
                "the walls",
            )
    if (
        config.array.height[1] + high < speaker.wall_distance
        or config.array.height[0] + low > room.height[1] - speaker.wall_distance
        or 2 * speaker.wall_distance > room.height[0]
    ):
        raise _refuse(
            "speaker.height_offset",
            speaker.height_offset,
            f"speakers would not be {speaker.wall_distance:g} m (scene.speaker.wall_distance) from "
            "floor and ceiling",
        )


def _check_min_angle(config: SceneConfig, array: MicrophoneArray) -> None:
    most, angle = config.num_speakers[1], config.speaker.min_angle
    low, high = observable_azimuths(config, array)
    if low > high:
        raise _refuse(
            "speaker.azimuth",
            config.speaker.azimuth,
            f"array {array.name!r} is a line: it observes 0 to 180 degrees",
        )
    if high - low > 360:
        raise _refuse("speaker.azimuth", config.speaker.azimuth, "expected at most 360 degrees")
    wraps = not array.is_linear and most * angle > 360
    if wraps or (most - 1) * angle > high - low:
        raise _refuse(
            "speaker.min_angle",
            angle,
            f"{most} speakers (scene.num_speakers) do not fit into {high - low:g} degrees",
        )
