# SPDX-License-Identifier: Apache-2.0
"""Training examples that are cut from stored mixtures, in any pose that their array allows."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial

import numpy as np

from msdet.datasets.batch import ALL_LABELS
from msdet.datasets.examples import CROP, CROP_TRIES, SILENT_RMS, SYMMETRY, ExampleSet, shuffled
from msdet.simulation import Example, Room, Scene, SceneConfig, StoredMixtures
from msdet.simulation.draw_rooms import draw_symmetry


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
        position = epoch * self.length + index
        lap, place = divmod(position, len(self.mixtures))
        return int(shuffled(self.seed, lap, len(self.mixtures))[place])

    def example(self, epoch: int, index: int) -> Example:
        key = epoch, index
        example = self.mixtures.read(self.number(*key), partial(self._pose, key))
        sequence = np.random.SeedSequence(self.seed, spawn_key=(CROP, *key))
        return random_crop(example, self.num_samples, np.random.default_rng(sequence))

    def _pose(self, key: tuple[int, int], scene: Scene) -> Room:
        """The room of a scene, with its array turned."""
        if self.scene is None or not self.scene.use_symmetry:
            return scene.room
        sequence = np.random.SeedSequence(self.seed, spawn_key=(SYMMETRY, *key))
        rng = np.random.default_rng(sequence)
        return draw_symmetry(self.scene, scene.microphone_array(), scene.room, rng)


def random_crop(example: Example, num_samples: int, rng: np.random.Generator) -> Example:
    """A stretch of an example in which all targets speak, if one is found soon; else the one of a
    few in which the quietest target is loudest. Its reference microphone has an RMS of 1 again.
    """
    spare = example.mixture.shape[-1] - num_samples
    best, best_level = 0, -1.0
    for _ in range(CROP_TRIES if spare else 1):
        start = int(rng.integers(spare + 1))
        part = example.targets[:, start : start + num_samples]
        level = float(np.sqrt(np.mean(np.square(part, dtype=np.float64), axis=-1)).min())
        if level > best_level:
            best, best_level = start, level
        if level > SILENT_RMS:
            break
    window = slice(best, best + num_samples)
    reference = example.mixture[example.scene.reference_mic, window]
    power = float(np.mean(np.square(reference, dtype=np.float64)))
    gain = 1 / math.sqrt(power) if power > 0 else 1.0
    return replace(
        example,
        mixture=example.mixture[:, window] * np.float32(gain),
        targets=example.targets[:, window] * np.float32(gain),
        gain=example.gain * gain,
    )
