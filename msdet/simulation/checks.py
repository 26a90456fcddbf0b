# SPDX-License-Identifier: Apache-2.0
"""Refuses ranges of scenes that contradict each other or do not fit, before anything is drawn."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from operator import attrgetter

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

_MOST_VOICES = 100
"""Sources of a background: each is rendered like a speaker."""

_BOUNDS = {
    "num_speakers": (1, MOST_SPEAKERS, ""),
    "overlap": (0, 1, ", as shares"),
    "conversation.turn": (0.1, 60, " s"),
    "conversation.pause": (0, 3600, " s"),
    "conversation.interruption": (0, 1, ", as shares"),
    "conversation.overlap": (0, 60, " s"),
    "conversation.backchannel": (0, 1, ", as shares"),
    "conversation.most_heard": (1, MOST_SPEAKERS, ""),
    "movement.share": (0, 1, ", as shares"),
    "movement.speed": (0.01, 10, " m/s"),
    "movement.pause": (0, 3600, " s"),
    "background.talkers": (1, _MOST_VOICES, ""),
    "background.sources": (1, _MOST_VOICES, ""),
    "array.wall_distance": (0, math.inf, " m"),
    "array.offset": (0, math.inf, " m"),
    "array.rotation": (-3600, 3600, " degrees"),
    "speaker.wall_distance": (0, math.inf, " m"),
    "speaker.min_angle": (0, 360, " degrees"),
    "imperfections.gain_db": (0, MOST_DECIBELS / MOST_SIGMAS, " dB"),
    "imperfections.phase": (0, 360, " degrees"),
    "imperfections.position": (0, 1, " m"),
    "imperfections.rotation": (0, 180, " degrees"),
    "imperfections.tilt": (0, 90, " degrees"),
    "imperfections.noise_slope": (-12, 12, " dB per octave"),
    "imperfections.rumble_snr_db": (-MOST_DECIBELS, MOST_DECIBELS, " dB"),
    "imperfections.clicks": (0, 1000, " per second"),
    "imperfections.dc_offset": (0, 100, ", as shares"),
    "imperfections.clipping_db": (0, MOST_DECIBELS, " dB"),
    "level_db": (-MOST_DECIBELS, MOST_DECIBELS, " dB"),
    "snr_db": (-MOST_DECIBELS, MOST_DECIBELS, " dB"),
    "background.shape_db": (0, MOST_DECIBELS / MOST_SIGMAS, " dB"),
    "background.modulation_db": (0, MOST_DECIBELS / MOST_SIGMAS, " dB"),
    "background.snr_db": (-MOST_DECIBELS, MOST_DECIBELS, " dB"),
}
"""The least and the most that keys can mean."""
_ABOVE_ZERO = ("room.length", "room.width", "room.height", "t60", "speaker.distance")

Mistakes = Iterator[tuple[str, str]]
"""Keys, and what was expected of each."""


def check_ranges(config: SceneConfig, array: MicrophoneArray) -> None:
    """Refuse ranges that contradict each other, without drawing anything.

    Raises:
        InputError: names the key, its value and what would be possible.
    """
    for mistakes in (_each_alone, _choices, _t60, _array_fits, _speakers_fit, _angles_fit):
        for key, expected in mistakes(config, array):
            value = attrgetter(key)(config)
            shown = shortened(str(list(value) if isinstance(value, tuple) else value))
            raise InputError(f"scene.{key}={shown}: {expected}")


def _each_alone(config: SceneConfig, array: MicrophoneArray) -> Mistakes:
    for key in _number_keys(config):
        value = attrgetter(key)(config)
        values = value if isinstance(value, tuple) else (value,)
        low, high, unit = _BOUNDS.get(key, (-math.inf, math.inf, ""))
        if not all(map(math.isfinite, values)):
            yield key, "expected finite numbers"
        if isinstance(value, tuple) and value[0] > value[1]:
            yield key, f"a range is [low, high]; did you mean {list(value)[::-1]}?"
        if key in _ABOVE_ZERO and not min(values) > 0:
            yield key, "expected numbers above 0"
        if min(values) < low or max(values) > high:
            bounds = f"{low:g} or more" if high == math.inf else f"{low:g} to {high:g}"
            yield key, f"expected {bounds}{unit}"


def _number_keys(record: BaseModel, prefix: str = "") -> Iterator[str]:
    """The keys of numbers and ranges of them, with a dot between levels."""
    for name in type(record).model_fields:
        value = getattr(record, name)
        if isinstance(value, BaseModel):
            yield from _number_keys(value, f"{prefix}{name}.")
        elif isinstance(value, int | float) or (
            isinstance(value, tuple) and len(value) == 2 and not isinstance(value[0], str)
        ):
            yield prefix + name


def _choices(config: SceneConfig, array: MicrophoneArray) -> Mistakes:
    if not 0 <= config.reference_mic < array.num_mics:
        yield "reference_mic", f"array {array.name!r} has microphones 0 to {array.num_mics - 1}"
    if config.movement is not None and config.rirs == "exact":
        yield "rirs", "speakers who move need 'hybrid' (or 'anechoic'); give scene.rirs=hybrid"
    factors = config.t60_per_octave
    if factors is not None and (
        len(factors) != len(OCTAVES_HZ) or not all(0 < factor < math.inf for factor in factors)
    ):
        bands = ", ".join(f"{hertz:g}" for hertz in OCTAVES_HZ)
        yield "t60_per_octave", f"expected {len(OCTAVES_HZ)} factors above 0, for {bands} Hz"
    if config.conversation is not None and config.overlap != (1.0, 1.0):
        yield "overlap", "is not used with scene.conversation, which has an overlap of its own"
    background = config.background
    for key in ("recordings", "source", "shape_db", "modulation_db"):
        if getattr(background, key) is None:
            continue
        if key.endswith("_db") and (background.recordings or background.source):
            yield f"background.{key}", "is for noise that is made, not for recordings"
        if not {"diffuse", "point"} & set(background.kinds):
            yield f"background.{key}", "is for scene.background.kinds diffuse and point"
        if background.recordings is not None and background.source is not None:
            yield "background.source", "takes the place of scene.background.recordings; give one"


def longest_t60(size: Sequence[float]) -> float:
    """Return the longest T60, seconds, that the image-source method computes in a room."""
    return math.cbrt(MOST_IMAGES * math.prod(size) * 3 / (4 * math.pi)) / SPEED_OF_SOUND


def _t60(config: SceneConfig, array: MicrophoneArray) -> Mistakes:
    """The shortest T60 in the largest room asks for the most absorption, the longest T60 in the
    smallest room for the most image sources."""
    if config.rirs == "anechoic":
        return
    factors = config.t60_per_octave or (1.0,)
    smallest, largest = zip(config.room.length, config.room.width, config.room.height, strict=True)
    absorption = sabine_absorption(largest, config.t60[0] * min(factors))
    if absorption > MOST_ABSORPTION:
        shortest = math.ceil(absorption * config.t60[0] * 1000) / 1000
        yield (
            "t60",
            f"not reachable in a room of {metres(largest)} (walls would have to absorb "
            f"{100 * absorption:.0f} %); ask for at least {shortest:g} s or for smaller rooms",
        )
    possible = longest_t60(smallest) / max(1.0, *factors)
    if config.rirs == "exact" and config.t60[1] > possible:
        yield (
            "t60",
            f"too long for the image-source method in a room of {metres(smallest)}; ask for at "
            f"most {math.floor(100 * possible) / 100:g} s, for larger rooms, or for "
            "scene.rirs=hybrid",
        )


def _array_fits(config: SceneConfig, array: MicrophoneArray) -> Mistakes:
    points, imperfections = array.as_array(), config.imperfections
    error = MOST_SIGMAS * imperfections.position
    reach = np.linalg.norm(points, axis=1).max()
    radius = np.hypot(points[:, 0], points[:, 1]).max() + error
    extent = np.abs(points[:, 2]).max() + error
    if imperfections.tilt:
        radius, extent = reach + error, extent + reach * math.sin(math.radians(imperfections.tilt))
    wall = config.array.wall_distance
    if wall <= radius:
        moved = imperfections.moves_microphones
        yield (
            "array.wall_distance",
            f"the microphones of array {array.name!r} reach {radius:.3g} m from its centre"
            + (", as far as scene.imperfections move them" if moved else ""),
        )
    for side in ("length", "width"):
        smallest = getattr(config.room, side)[0]
        if 2 * wall > smallest:
            where = f"walls {smallest:g} m apart (scene.room.{side})"
            yield "array.wall_distance", f"the array does not fit between {where}"
    (low, high), ceiling = config.array.height, config.room.height[0]
    if low - extent <= 0 or high + extent >= ceiling:
        yield "array.height", f"expected between floor and ceiling ({ceiling:g} m)"


def _speakers_fit(config: SceneConfig, array: MicrophoneArray) -> Mistakes:
    speaker, room = config.speaker, config.room
    (low, high), wall = speaker.height_offset, speaker.wall_distance
    if max(0.0, low, -high) >= speaker.distance[0] * 0.999:
        nearest = f"scene.speaker.distance ({speaker.distance[0]:g} m)"
        yield "speaker.height_offset", f"higher than the smallest {nearest}"
    margins = config.array.wall_distance + wall
    for length, width, distance in zip(room.length, room.width, speaker.distance, strict=True):
        sides = (length - margins, width - margins)
        flat = math.sqrt(max(distance**2 - max(abs(low), abs(high)) ** 2, 0.0))
        if min(sides) <= 0 or flat > math.hypot(*sides):
            yield (
                "speaker.distance",
                f"speakers at {distance:g} m do not fit in a room of {length:g} x {width:g} m with "
                f"the array {config.array.wall_distance:g} m and speakers {wall:g} m from walls",
            )
    lowest, highest = config.array.height[0] + low, config.array.height[1] + high
    if highest < wall or lowest > room.height[1] - wall or 2 * wall > room.height[0]:
        yield (
            "speaker.height_offset",
            f"speakers would not be {wall:g} m (scene.speaker.wall_distance) from floor and "
            "ceiling",
        )


def _angles_fit(config: SceneConfig, array: MicrophoneArray) -> Mistakes:
    most, angle = config.num_speakers[1], config.speaker.min_angle
    low, high = observable_azimuths(config, array)
    if low > high:
        yield "speaker.azimuth", f"array {array.name!r} is a line: it observes 0 to 180 degrees"
    if high - low > 360:
        yield "speaker.azimuth", "expected at most 360 degrees"
    wraps = not array.is_linear and most * angle > 360
    if wraps or (most - 1) * angle > high - low:
        speakers = f"{most} speakers (scene.num_speakers)"
        yield "speaker.min_angle", f"{speakers} do not fit into {high - low:g} degrees"


def metres(sides: Sequence[float]) -> str:
    """A point or the size of a room, in words."""
    return " x ".join(f"{side:g}" for side in sides) + " m"
