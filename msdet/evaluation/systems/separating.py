# SPDX-License-Identifier: Apache-2.0
"""A checkpoint as ``msdet separate`` uses it: what a user gets of a scene, told nothing but the
recording and its microphones."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from msdet.checkpoints import Checkpoint
from msdet.evaluation.systems.estimate import Estimate, Heard
from msdet.evaluation.systems.network import prescribed_order
from msdet.inference.separation import Separation
from msdet.inference.separator import Separator
from msdet.moments import moments_of, nearest_known
from msdet.tasks import trained_tasks


class Separating:
    """Puts out who is there: as many outputs as it finds speakers, be it none.

    Args:
        moving: they are followed as they walk about.
    """

    def __init__(self, checkpoint: Checkpoint, moving: bool = False) -> None:
        self.description = checkpoint.description
        self._separator, self._moving = Separator(checkpoint), moving
        tasks = trained_tasks(self.description.weight, self.description.distance_weight)
        self._localises = "direction" in tasks

    def __call__(self, heard: Heard) -> Estimate:
        """Separate a scene."""
        found = self._separator.separate(
            heard.example.mixture, heard.sample_rate, heard.array, moving=self._moving
        )
        return Estimate(
            audio=found.audio,
            azimuth=found.azimuth if self._localises else None,
            distance=found.distance,
            empty=np.zeros(found.num_speakers, np.bool_),
            track=_track(found),
            posterior=None if found.posterior is None else found.posterior.astype(np.float32),
        )

    def order(self, heard: Heard) -> tuple[int, ...] | None:
        """Return the order that speakers must come in; None where outputs decide."""
        return prescribed_order(self.description, heard)


def _track(found: Separation) -> NDArray[np.float64] | None:
    """``[speaker, moment]``, as it is read from what ``msdet separate`` writes: while a speaker is
    silent, the nearest place of speech."""
    if found.track is None:
        return None
    moments = moments_of(found.duration)
    ways = [nearest_known(*found.way(number), moments) for number in range(found.num_speakers)]
    return np.reshape(ways, (-1, len(moments)))
