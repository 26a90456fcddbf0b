# SPDX-License-Identifier: Apache-2.0
"""Room to room impulse responses: walls, their image sources, and what these sum to."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import scipy
from numpy.typing import NDArray

from msdet.errors import InputError
from msdet.geometry import SPEED_OF_SOUND, MicrophoneArray
from msdet.simulation.acoustics import high_passed, measure_drr, measure_t60
from msdet.simulation.config import MOST_ABSORPTION, sabine_absorption
from msdet.simulation.diffuse import diffuse_tail, octave_gains
from msdet.simulation.rooms import Room, canonical

METHOD = "ism-3"
"""Changes whenever other responses come out; part of what names a stored response."""
_FADE = 0.005
"""Seconds over which the images of a hybrid response give way to its tail."""
FILTER_TAPS = 81
DELAY = FILTER_TAPS // 2
"""Samples by which pyroomacoustics' fractional-delay filter delays every response."""
_SINC_POINTS = 20
"""Points of its look-up table per sample (pyroomacoustics' default)."""
_LONGEST_CALL = 0.5
"""Seconds of responses that are summed in one call, which counts time in single precision: to
2e-8 s here."""
EARLY_MILLISECONDS = 50.0
"""After the direct path: reflections that help to understand speech."""
IMAGE_FLOOR = 1e-6
"""The weakest images that together carry less than -60 dB of the energy are left out."""


@dataclass(frozen=True)
class Rirs:
    """Responses of one room.

    Attributes:
        image: float32 ``[speaker, mic, tap]``, 1/d at a distance of d metres.
        direct: float32 ``[speaker, mic, tap]``, the direct path alone; shorter.
        noise: float32 ``[source, mic, tap]``, of the places that noise comes from; often none.
        delay: samples by which they are late beyond the travel of the sound.
        t60_measured: seconds; T20 (-5 to -25 dB), mean over speakers and microphones; 0 without
            walls.
        drr_db: float32 ``[speaker, mic]``, direct-to-reverberant ratio; infinite without walls.
    """

    image: NDArray[np.float32]
    direct: NDArray[np.float32]
    noise: NDArray[np.float32]
    delay: int
    sample_rate: int
    t60_measured: float
    drr_db: NDArray[np.float32]

    def permuted(self, permutation: Sequence[int]) -> Rirs:
        """The same responses with the microphones read in another order."""
        order = list(permutation)
        return replace(
            self,
            image=self.image[:, order],
            direct=self.direct[:, order],
            noise=self.noise[:, order],
            drr_db=self.drr_db[:, order],
        )

    def of_speakers(self, numbers: Sequence[int]) -> Rirs:
        """Return the responses of some of the speakers, by their numbers in the room."""
        if len(numbers) == len(self.image):
            return self
        chosen = list(numbers)
        return replace(
            self,
            image=self.image[chosen],
            direct=self.direct[chosen],
            drr_db=self.drr_db[chosen],
        )

    def early(self, mic: int, milliseconds: float = EARLY_MILLISECONDS) -> NDArray[np.float32]:
        """Responses ``[speaker, tap]`` at a microphone, up to a time after the direct peak."""
        after = round(milliseconds / 1000 * self.sample_rate)
        ends = np.abs(self.direct[:, mic]).argmax(axis=-1) + after
        taps = np.arange(self.image.shape[-1])
        return np.where(taps <= ends[:, None], self.image[:, mic], np.float32(0))


def compute_rirs(room: Room, array: MicrophoneArray, sample_rate: int) -> Rirs:
    """Responses of a room, by the backend that the room asks for; a pure function.

    Rooms that differ by a symmetry of the array get the same responses, permuted.

    - ``exact``: the image-source method (Allen and Berkley, 1979) as far as sound travels in the
      asked T60 (the longest of all octaves); the weakest images, which together carry less than
      -60 dB of the energy, are left out. No high-pass (pyroomacoustics' default one is zero-phase
      and rings before the direct path).
    - ``hybrid``: the same up to the mixing time, then a diffuse tail that decays as the images
      would (`msdet.simulation.diffuse`).
    - ``anechoic``: the direct path alone.

    Walls absorb by Sabine's formula, on request differently in each octave.

    Raises:
        InputError: the room cannot reach its T60, or something stands outside of it.
    """
    room, permutation = canonical(room, array)
    mics = room.microphones(array)
    sources = np.array([*(s.position for s in room.speakers), *room.noise_sources])
    size = np.array(room.size)
    inside = np.concatenate([mics, sources])
    if (inside <= 0).any() or (inside >= size).any():
        raise InputError(f"room of {room.size} m: a microphone or speaker stands outside of it")
    direct = direct_paths(sources, mics, sample_rate)
    count = len(room.speakers)
    if room.rirs == "anechoic":
        image = direct
        t60, drr_db = 0.0, np.full(image[:count].shape[:2], np.inf, np.float32)
    else:
        image = _reverberant(room, array, mics, sources, sample_rate)
        filtered = high_passed(image[:count], sample_rate)
        t60 = measure_t60(filtered, sample_rate)
        drr_db = measure_drr(filtered, direct[:count], sample_rate)
    return Rirs(
        image=image[:count],
        direct=direct[:count],
        noise=image[count:],
        delay=DELAY,
        sample_rate=sample_rate,
        t60_measured=t60,
        drr_db=drr_db,
    ).permuted(permutation)


def _reverberant(
    room: Room,
    array: MicrophoneArray,
    mics: NDArray[np.float64],
    sources: NDArray[np.float64],
    sample_rate: int,
) -> NDArray[np.float32]:
    """Responses ``[source, mic, tap]`` of image sources, and of a tail in place of late ones."""
    reflections = wall_reflections(room)
    hybrid = room.rirs == "hybrid"
    mixed = mixed_from(room, sources)
    responses = [
        image_response(room, reflections, mics, source, start if hybrid else None, sample_rate)
        for source, start in zip(sources, mixed.tolist(), strict=True)
    ]
    first, stop = round(mixed.min() * sample_rate), math.ceil(room.longest_t60 * sample_rate)
    if not hybrid or stop <= first:
        return stacked(responses)
    tail = diffuse_tail(
        room.size,
        reflections,
        room.real_positions(array),
        sample_rate,
        first,
        stop,
        _generator_of(room),
        len(sources),
    )
    time = np.arange(first, stop, dtype=np.float32) / np.float32(sample_rate)
    fade = np.clip((time - mixed[:, None].astype(np.float32)) / np.float32(_FADE), 0, 1)
    tail *= np.sin(np.float32(np.pi / 2) * fade)[:, None]
    whole = stacked(responses, at_least=stop + DELAY)
    whole[..., first + DELAY : stop + DELAY] += tail
    return whole


def mixed_from(room: Room, sources: NDArray[np.float64]) -> NDArray[np.float64]:
    """When the tails of hybrid responses begin, seconds ``[source]``, of ``[source, 3]``."""
    travel = np.linalg.norm(sources - room.array_centre, axis=-1) / SPEED_OF_SOUND
    return np.asarray(travel + mixing_time(room.size))


def image_response(
    room: Room,
    reflections: Sequence[float],
    mics: NDArray[np.float64],
    source: NDArray[np.float64],
    start: float | None,
    sample_rate: int,
) -> NDArray[np.float32]:
    """The response of image sources ``[mic, tap]``.

    Args:
        reflections: :func:`wall_reflections` of the room.
        mics: ``[mic, 3]``. source: ``[3]``, metres in the room.
        start: seconds after which they give way to a tail; None takes all of them.
    """
    seconds = room.longest_t60 if start is None else start + _FADE
    images = image_sources(room.size, source, room.array_centre, max(reflections), seconds)
    weights: NDArray[np.float64] | float = 1.0
    if start is not None:
        distance = np.linalg.norm(images.positions.T - room.array_centre, axis=-1)
        fade = np.clip((distance / SPEED_OF_SOUND - start) / _FADE, 0, 1)
        weights = np.cos(np.pi / 2 * fade)
    return reflected(images, reflections, mics, sample_rate, weights)


def mixing_time(size: Sequence[float]) -> float:
    """Seconds after the direct sound from which reflections are perceived as diffuse.

    20 V/S + 12 ms for the average listener, volume over surface in metres (Lindau, Kosanke and
    Weinzierl, 2012).
    """
    length, width, height = size
    surface = 2 * (length * width + length * height + width * height)
    return (20 * length * width * height / surface + 12) / 1000


def _generator_of(room: Room) -> np.random.Generator:
    """A generator that depends on the room's numbers and on nothing else."""
    digest = hashlib.sha256(json.dumps(room.acoustics(), sort_keys=True).encode()).digest()
    return np.random.Generator(np.random.SFC64(int.from_bytes(digest[:16])))


def stacked(responses: Sequence[NDArray[np.float32]], at_least: int = 0) -> NDArray[np.float32]:
    """``[source, mic, tap]`` of responses ``[mic, tap]``, zeros at the end of shorter ones."""
    taps = max(at_least, *(r.shape[-1] for r in responses))
    out = np.zeros((len(responses), len(responses[0]), taps), np.float32)
    for into, response in zip(out, responses, strict=True):
        into[:, : response.shape[-1]] = response
    return out


# --- the image-source method (Allen and Berkley, 1979) ------------------------------------


def wall_reflections(room: Room) -> tuple[float, ...]:
    """Amplitude factors of a reflection that give a room its T60 by Sabine's formula.

    All walls of a room absorb alike.

    Returns:
        One for all frequencies, or one for each of the octaves around `OCTAVES_HZ`.
    Raises:
        InputError: no walls do.
    """
    absorptions = [
        sabine_absorption(room.size, room.t60 * factor) for factor in room.t60_per_octave or (1.0,)
    ]
    if max(absorptions) > MOST_ABSORPTION:
        size = " x ".join(f"{side:g}" for side in room.size)
        shortest = math.ceil(1000 * room.t60 * max(absorptions)) / 1000
        raise InputError(
            f"t60={room.t60:g}: not reachable in a room of {size} m, at least {shortest:g} s is"
        )
    return tuple(math.sqrt(max(0.0, 1.0 - a)) for a in absorptions)


@dataclass(frozen=True)
class Images:
    """Image sources of one source.

    Attributes:
        positions: ``[3, image]``, metres. reflections: how many made each, int ``[image]``.
    """

    positions: NDArray[np.float64]
    reflections: NDArray[np.intp]


def image_sources(
    size: Sequence[float],
    source: NDArray[np.float64],
    centre: Sequence[float],
    reflection: float,
    seconds: float,
) -> Images:
    """Image sources within the reach of sound in `seconds` that matter at `centre`.

    Args:
        size: of the room. source: position ``[3]``. centre: of the microphones. All metres.
        reflection: amplitude factor of a reflection, of the frequencies where it is largest.
    """
    reach = seconds * SPEED_OF_SOUND
    coordinates, bounces, squares = [], [], []
    for side, x, c in zip(size, source, centre, strict=True):
        n = np.arange(-math.ceil(reach / side) - 1, math.ceil(reach / side) + 2)
        positions = np.where(n % 2 == 0, n * side + x, (n + 1) * side - x)
        coordinates.append(positions)
        bounces.append(np.abs(n))
        squares.append((positions - c) ** 2)
    squared = squares[0][:, None, None] + squares[1][:, None] + squares[2]
    order = bounces[0][:, None, None] + bounces[1][:, None] + bounces[2]
    kept = np.flatnonzero(squared.ravel() <= max(reach**2, float(squared.min())))
    squared, order = squared.ravel()[kept], order.ravel()[kept]
    energy = (reflection ** (2 * np.arange(order.max() + 1)))[order] / squared
    ascending = np.sort(energy)
    total = np.cumsum(ascending)
    weakest = ascending[np.searchsorted(total, IMAGE_FLOOR * total[-1])]
    strong = energy >= weakest
    index = np.unravel_index(kept[strong], tuple(len(c) for c in coordinates))
    found = np.stack([c[i] for c, i in zip(coordinates, index, strict=True)])
    return Images(found, order[strong])


def direct_paths(
    sources: NDArray[np.float64], mics: NDArray[np.float64], sample_rate: int
) -> NDArray[np.float32]:
    """Free-field responses ``[source, mic, tap]`` of sources ``[source, 3]``, 1/d at d metres."""
    distance = np.linalg.norm(sources[:, None] - mics, axis=-1)
    responses = _sum(distance.reshape(-1, 1), (1 / distance).reshape(-1, 1), sample_rate)
    return responses.reshape(*distance.shape, -1)


def reflected(
    images: Images,
    reflections: Sequence[float],
    mics: NDArray[np.float64],
    sample_rate: int,
    weights: NDArray[np.float64] | float = 1.0,
) -> NDArray[np.float32]:
    """Responses ``[mic, tap]`` of images behind walls; `weights` are further gains ``[image]``."""
    distance = np.linalg.norm(images.positions[None] - mics[:, :, None], axis=1)
    gains = [r**images.reflections * weights for r in reflections]
    sums = [_sum(distance, g / distance, sample_rate) for g in gains]
    if len(sums) == 1:
        return sums[0]
    taps = sums[0].shape[-1]
    # Room for what the bands' filters ring beyond the last tap, which is as weak as the tail's end.
    size = scipy.fft.next_fast_len(taps + int(0.02 * sample_rate), real=True)
    bands = octave_gains(size, sample_rate)
    spectrum = sum(scipy.fft.rfft(h, size, axis=-1) * g for h, g in zip(sums, bands, strict=True))
    return np.asarray(scipy.fft.irfft(spectrum, size, axis=-1)[..., :taps], np.float32)


def _sum(
    distance: NDArray[np.float64], amplitude: NDArray[np.float64], sample_rate: int
) -> NDArray[np.float32]:
    """Responses ``[response, tap]`` of images at distances ``[response, image]`` (metres)."""
    from pyroomacoustics import libroom  # takes a second to import, and only this line needs it

    arrival = distance / SPEED_OF_SOUND + DELAY / sample_rate
    amplitude = amplitude.astype(np.float32)
    taps = math.ceil(arrival.max() * sample_rate) + DELAY + 2
    responses = np.zeros((len(distance), taps), np.float32)
    # A call costs as much as a thousand images, so several responses share one, end to end.
    together = max(1, int(_LONGEST_CALL * sample_rate / taps))
    for first in range(0, len(responses), together):
        some = slice(first, first + together)
        shift = np.arange(len(responses[some]))[:, None] * (taps / sample_rate)
        libroom.rir_builder(
            responses[some].reshape(-1),
            (arrival[some] + shift).astype(np.float32).ravel(),
            amplitude[some].ravel(),
            sample_rate,
            FILTER_TAPS,
            _SINC_POINTS,
            1,
        )
    return responses
