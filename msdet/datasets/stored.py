# SPDX-License-Identifier: Apache-2.0
"""Training examples that are cut from stored mixtures, in any pose that their array allows."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from msdet.datasets.batch import ALL_LABELS
from msdet.datasets.examples import CROP, SYMMETRY, ExampleSet, in_turn, start_of_crop
from msdet.moments import TRACK_SECONDS, moments_of
from msdet.simulation import Example, Room, Scene, SceneConfig, StoredMixtures
from msdet.simulation.rooms import draw_symmetry, random_generator

_HEARD = 0.1
"""Seconds that somebody speaks in a crop at least, to be in it."""


class StoredExamples(ExampleSet):
    """Crops of mixtures on disk.

    Where the targets of all microphones are stored that a symmetry of the array makes the
    reference, and `scene.use_symmetry` holds, an example is heard by the array turned by one of its
    symmetries. The scene of an example is the one that the whole mixture is rendered from.

    Args:
        scene: the ranges of the training, whose azimuths a turned array must keep to; None turns
            nothing.
    """

    def __init__(
        self,
        mixtures: StoredMixtures,
        *,
        seed: int,
        num_samples: int,
        length: int,
        scene: SceneConfig | None = None,
    ) -> None:
        super().__init__(length, ALL_LABELS)
        self.mixtures, self.seed, self.num_samples = mixtures, seed, num_samples
        self.scene = scene

    def number(self, epoch: int, index: int) -> int:
        """Return the mixture that an example is from: every one once before any comes again."""
        return in_turn(self.seed, epoch * self.length + index, len(self.mixtures))

    def example(self, epoch: int, index: int) -> Example:
        key = epoch, index
        example = self.mixtures.read(self.number(*key), partial(self._pose, key))
        return random_crop(example, self.num_samples, random_generator(self.seed, CROP, *key))

    def _pose(self, key: tuple[int, int], scene: Scene) -> Room:
        """The room of a scene, with its array turned."""
        if self.scene is None or not self.scene.use_symmetry:
            return scene.room
        rng = random_generator(self.seed, SYMMETRY, *key)
        return draw_symmetry(self.scene, scene.microphone_array(), scene.room, rng)


def random_crop(example: Example, num_samples: int, rng: np.random.Generator) -> Example:
    """A stretch in which all targets speak, see `start_of_crop`, with an RMS of 1 again.

    Of a conversation any stretch, with those who are active in it. Labels of who walks are those
    of its start.
    """

    def quietest(start: int) -> float:
        part = example.targets[:, start : start + num_samples]
        return float(np.sqrt(np.mean(np.square(part, dtype=np.float64), axis=-1)).min())

    spare = example.mixture.shape[-1] - num_samples
    if example.scene.is_conversation:
        start = int(rng.integers(spare + 1))
        example = _within(example, start, num_samples)
    else:
        start = start_of_crop(spare, rng, quietest)
    if example.places is not None:
        example = _later(example, example.places, start, num_samples)
    window = slice(start, start + num_samples)
    reference = example.mixture[example.scene.reference_mic, window]
    power = float(np.mean(np.square(reference, dtype=np.float64)))
    gain = 1 / math.sqrt(power) if power > 0 else 1.0
    return replace(
        example,
        mixture=example.mixture[:, window] * np.float32(gain),
        targets=example.targets[:, window] * np.float32(gain),
        gain=example.gain * gain,
    )


def _later(example: Example, places: NDArray[np.float64], start: int, num_samples: int) -> Example:
    """The labels of a stretch of a mixture whose speakers are at ``places``."""
    rate, known = example.scene.sample_rate, np.arange(places.shape[1]) * TRACK_SECONDS
    moments = start / rate + moments_of(num_samples / rate)
    there = [[np.interp(moments, known, axis) for axis in place.T] for place in places]
    found = np.reshape(there, (len(places), 3, len(moments))).swapaxes(1, 2)
    first = found[:, 0]
    distance = np.linalg.norm(first, axis=-1)
    return replace(
        example,
        azimuth=example.array.azimuth_of(first).astype(np.float32),
        elevation=np.degrees(np.arcsin(first[:, 2] / distance)).astype(np.float32),
        distance=distance.astype(np.float32),
        places=found,
    )


def _within(example: Example, start: int, num_samples: int) -> Example:
    """The speakers who are heard in a stretch, all of their signals, with its times."""
    assert example.activity is not None
    rate = example.scene.sample_rate
    first, last = start / rate, (start + num_samples) / rate
    activity = [
        tuple(
            (max(a, first) - first, min(b, last) - first)
            for a, b in of_one
            if a < last and first < b
        )
        for of_one in example.activity
    ]
    active = [
        number for number, of_one in enumerate(activity) if sum(b - a for a, b in of_one) >= _HEARD
    ]
    names = ("targets", "azimuth", "elevation", "distance", "drr_db")
    labels: dict[str, Any] = {name: getattr(example, name)[active] for name in names}
    labels["places"] = None if example.places is None else example.places[active]
    return replace(example, **labels, activity=tuple(activity[number] for number in active))
