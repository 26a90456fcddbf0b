# SPDX-License-Identifier: Apache-2.0
"""The options of a separation, checked against what a model can do."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral

import numpy as np

from msdet.checkpoints import Description
from msdet.errors import InputError
from msdet.inference.config import OVERLAP, WINDOW_SECONDS
from msdet.inference.guidance import checked_directions
from msdet.inference.speakers_file import SeparatedWith
from msdet.tasks import trained_tasks


@dataclass(frozen=True)
class Options:
    """Choices for the separation of a recording; see :meth:`msdet.Separator.separate`."""

    azimuth: float | Sequence[float] | None = None
    window_seconds: float = WINDOW_SECONDS
    overlap: float = OVERLAP
    num_speakers: int | None = None
    max_speakers: int | None = None
    moving: bool = False

    def as_plain(self) -> SeparatedWith:
        """Return them as ``speakers.json`` has them, of Python's own types."""
        return SeparatedWith(
            azimuth=None
            if self.azimuth is None
            else tuple(map(float, np.atleast_1d(self.azimuth))),
            window_seconds=float(self.window_seconds),
            overlap=float(self.overlap),
            num_speakers=None if self.num_speakers is None else int(self.num_speakers),
            max_speakers=None if self.max_speakers is None else int(self.max_speakers),
            moving=bool(self.moving),
        )


def check_options(options: Options, description: Description) -> None:
    """See that a model can do what is asked.

    Raises:
        InputError: names what it cannot.
    """
    if options.azimuth is not None:
        checked_directions(options.azimuth, description)
    elif description.model.heads.guidance == "oracle":
        raise InputError(
            "this model's masks are guided by true azimuths (model.heads.guidance=oracle), and "
            "it finds none itself: give azimuth, the directions of its speakers"
        )
    if options.moving and "direction" not in trained_tasks(
        description.weight, description.distance_weight
    ):
        raise InputError("moving: this model finds no directions, so that it can follow nobody")
    shortest = 4 * description.model.stft.window / description.sample_rate
    if not shortest <= options.window_seconds < math.inf:
        raise InputError(
            f"window_seconds={options.window_seconds}: must be at least {shortest:.3f}, "
            "four of the model's transform windows"
        )
    if not 0 < options.overlap <= 0.5:
        raise InputError(f"overlap={options.overlap}: must be above 0 and at most 0.5")
    if options.overlap * options.window_seconds < shortest / 4:
        raise InputError(
            f"overlap={options.overlap}: windows of {options.window_seconds:g} s would share "
            f"less than {shortest / 4:.3f} s, one of the model's transform windows"
        )
    for key in ("num_speakers", "max_speakers"):
        count: object = getattr(options, key)
        if count is not None and not (isinstance(count, Integral) and int(count) >= 1):
            raise InputError(f"{key}={count!r}: must be a whole number, at least 1")
    if options.num_speakers is not None and options.max_speakers is not None:
        raise InputError(
            f"max_speakers={options.max_speakers} beside num_speakers={options.num_speakers}: "
            "say how many there are, or how many there are at most"
        )
    if options.num_speakers is not None and options.azimuth is not None:
        raise InputError(
            f"num_speakers={options.num_speakers} beside azimuth={options.azimuth}: as many "
            "are put out as directions are asked for; leave one of them out"
        )


def check_length(num_samples: int, sample_rate: int, description: Description) -> None:
    """Refuse what is shorter than one window of a model's transform."""
    window = description.model.stft.window / description.sample_rate
    if num_samples / sample_rate < window:
        raise InputError(
            f"audio: {num_samples} samples at {sample_rate} Hz are too short; the model "
            f"needs at least {window:.3f} s"
        )
