# SPDX-License-Identifier: Apache-2.0
"""Training on many arrays: which ones, and whose turn it is. A batch is recorded with one array."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from msdet.datasets.config import ArraysConfig
from msdet.datasets.examples import ARRAYS, ARRAYS_ORDER, ExampleSet, SimulatedMixtures, in_turn
from msdet.errors import InputError
from msdet.geometry import MicrophoneArray
from msdet.simulation import Example
from msdet.simulation.rooms import random_generator

_TRIES = 1000
"""Draws of a microphone's place; a disc that has room for it needs a few."""


def build_arrays(config: ArraysConfig, own: MicrophoneArray, seed: int) -> list[MicrophoneArray]:
    """The run's own array, and then those of the config; none of them twice.

    Raises:
        InputError: microphones do not fit into their disc or line; or lines and other shapes are
            mixed, whose azimuths are not the same thing.
    """
    arrays = [own]
    for shape in config.shapes:
        array = shape.build()
        if array.is_linear != own.is_linear:
            kinds = ("not on a line", "on a line")
            raise InputError(
                f"data.arrays.shapes: {array.name!r} is {kinds[array.is_linear]}, but array "
                f"{own.name!r} is {kinds[own.is_linear]}; one network serves one kind"
            )
        if all(array.positions != known.positions for known in arrays):
            arrays.append(array)
    if config.drawn and config.num_mics[0] < 3 and not own.is_linear:
        raise InputError(
            f"data.arrays.num_mics={list(config.num_mics)}: two microphones are a line, but array "
            f"{own.name!r} is not on one; one network serves one kind"
        )
    draw = _draw_line if own.is_linear else _draw_planar
    return arrays + [draw(config, seed, number) for number in range(config.drawn)]


def _draw_planar(config: ArraysConfig, seed: int, number: int) -> MicrophoneArray:
    """Microphones evenly over a disc, one by one, those too close to another left out."""
    rng, count, radius = _draw_size(config, seed, number)
    places: list[tuple[float, float, float]] = []
    for _ in range(_TRIES):
        angle, reach = float(rng.uniform(0, math.tau)), radius * math.sqrt(float(rng.uniform()))
        place = (round(reach * math.cos(angle), 4), round(reach * math.sin(angle), 4), 0.0)
        if all(math.dist(place, other) >= config.spacing for other in places):
            places.append(place)
        if len(places) == count:
            array = MicrophoneArray(f"drawn{number}", tuple(places))
            if not array.is_linear:
                return array
            places = []
    raise _no_room(config, count, f"disc of {radius:.3f} m")


def _draw_line(config: ArraysConfig, seed: int, number: int) -> MicrophoneArray:
    """Microphones evenly over a line, their least distance between them."""
    rng, count, radius = _draw_size(config, seed, number)
    free = 2 * radius - (count - 1) * config.spacing
    if free < 0:
        raise _no_room(config, count, f"line of {2 * radius:.3f} m")
    places = np.sort(rng.uniform(0, free, count)) + config.spacing * np.arange(count) - radius
    return MicrophoneArray(f"drawn{number}", tuple((float(x), 0.0, 0.0) for x in places.round(4)))


def _draw_size(
    config: ArraysConfig, seed: int, number: int
) -> tuple[np.random.Generator, int, float]:
    """Draw the microphones' number and the radius, and go on drawing with the generator."""
    rng = random_generator(seed, ARRAYS, number)
    count = int(rng.integers(config.num_mics[0], config.num_mics[1] + 1))
    return rng, count, float(rng.uniform(*config.radius))


def _no_room(config: ArraysConfig, count: int, shape: str) -> InputError:
    return InputError(
        f"data.arrays: {count} microphones {config.spacing:g} m apart do not fit into a {shape}; "
        "widen radius, or lessen spacing or num_mics"
    )


class ManyArrays(ExampleSet):
    """Examples of several sets, one for each array, in runs of a batch of each.

    Every array has its turn once before any comes again, in an order that changes with each pass.
    The last examples of an epoch, which do not fill a batch, are never asked for.
    """

    def __init__(self, sets: Sequence[SimulatedMixtures], *, seed: int, batch_size: int) -> None:
        super().__init__(len(sets[0]), sets[0].labels)
        self.sets, self.seed, self.batch_size = sets, seed, batch_size

    def turn(self, epoch: int, index: int) -> tuple[int, int]:
        """Return the array of an example, and how many were before it with this array."""
        batch, place = divmod(index, self.batch_size)
        batch += epoch * (self.length // self.batch_size)
        number = in_turn(self.seed, batch, len(self.sets), ARRAYS_ORDER)
        return number, batch // len(self.sets) * self.batch_size + place

    def example(self, epoch: int, index: int) -> Example:
        number, position = self.turn(epoch, index)
        return self.sets[number].example(epoch, index, position)
