# SPDX-License-Identifier: Apache-2.0
"""Training on many arrays: which ones, and whose turn it is. A batch is recorded with one array."""

from __future__ import annotations

import math
from collections.abc import Sequence

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
        InputError: microphones do not fit into their disc; or lines and other shapes are mixed,
            whose azimuths are not the same thing.
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
    if config.drawn and own.is_linear:
        raise InputError(
            f"data.arrays.drawn={config.drawn}: draws planar arrays, but array {own.name!r} is on "
            "a line; one network serves one kind"
        )
    return arrays + [_draw_array(config, seed, number) for number in range(config.drawn)]


def _draw_array(config: ArraysConfig, seed: int, number: int) -> MicrophoneArray:
    """Microphones evenly over a disc, one by one, those too close to another left out."""
    rng = random_generator(seed, ARRAYS, number)
    count = int(rng.integers(config.num_mics[0], config.num_mics[1] + 1))
    radius = float(rng.uniform(*config.radius))
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
    raise InputError(
        f"data.arrays: {count} microphones {config.spacing:g} m apart do not fit into a disc of "
        f"{radius:.3f} m; widen radius, or lessen spacing or num_mics"
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
