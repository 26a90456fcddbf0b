# SPDX-License-Identifier: Apache-2.0
"""Training examples that are cut from labelled recordings."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from msdet.datasets.examples import (
    CROP_TRIES,
    LABELLED_CROP,
    LABELLED_ORDER,
    SILENT_RMS,
    ExampleSet,
    shuffled,
)
from msdet.datasets.labelled import LabelledRecordings


@dataclass(frozen=True)
class LabelledExample:
    """A stretch of a recording, with None for what is not known.

    Attributes:
        mixture: float32 ``[mic, sample]``; the reference microphone has an RMS of 1.
        targets: ``[speaker, sample]``, with the same gain. azimuth, elevation: degrees
            ``[speaker]``. distance: metres ``[speaker]``.
        index: of the recording in its list. array: that of the training.
    """

    mixture: NDArray[np.float32]
    targets: NDArray[np.float32] | None
    azimuth: NDArray[np.float32] | None
    elevation: NDArray[np.float32] | None
    distance: NDArray[np.float32] | None
    num_speakers: int
    index: int
    array: None = None


class LabelledExamples(ExampleSet):
    """Stretches of recordings: each a pure function of (seed, index, epoch)."""

    def __init__(
        self,
        recordings: LabelledRecordings,
        *,
        seed: int,
        num_samples: int,
        length: int,
        reference_mic: int,
    ) -> None:
        super().__init__(length, recordings.labels, recordings.any_labels)
        self.recordings, self.seed = recordings, seed
        self.num_samples, self.reference_mic = num_samples, reference_mic

    def number(self, epoch: int, index: int) -> int:
        """Return the recording that an example is from: every one once before any comes again."""
        lap, place = divmod(epoch * self.length + index, len(self.recordings))
        return int(shuffled(self.seed, lap, len(self.recordings), LABELLED_ORDER)[place])

    def example(self, epoch: int, index: int) -> LabelledExample:
        number = self.number(epoch, index)
        sequence = np.random.SeedSequence(self.seed, spawn_key=(LABELLED_CROP, epoch, index))
        mixture, targets = self._crop(number, np.random.default_rng(sequence))
        level = _rms(mixture[self.reference_mic])
        gain = np.float32(1 / level if level > 0 else 1)
        recording = self.recordings.recordings[number]
        return LabelledExample(
            mixture=mixture * gain,
            targets=None if targets is None else targets * gain,
            azimuth=_float32(recording.azimuth),
            elevation=_float32(recording.elevation),
            distance=_float32(recording.distance),
            num_speakers=recording.num_speakers,
            index=number,
        )

    def _crop(
        self, number: int, rng: np.random.Generator
    ) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """A stretch in which all targets speak (without targets: in which there is sound), if one
        is found soon; else of a few the one in which the quietest is loudest."""
        recording = self.recordings.recordings[number]
        spare = recording.num_samples - self.num_samples
        best, best_level = None, -1.0
        for _ in range(CROP_TRIES if spare else 1):
            start = int(rng.integers(spare + 1))
            mixture, targets = self.recordings.read(number, start, self.num_samples)
            heard = mixture[self.reference_mic][None] if targets is None else targets
            level = min(map(_rms, heard)) / recording.level
            if level > best_level:
                best, best_level = (mixture, targets), level
            if level > SILENT_RMS:
                break
        assert best is not None
        return best


def _rms(signal: NDArray[np.float32]) -> float:
    return math.sqrt(float(np.mean(np.square(signal, dtype=np.float64))))


def _float32(values: Sequence[float] | None) -> NDArray[np.float32] | None:
    return None if values is None else np.array(values, np.float32)
