# SPDX-License-Identifier: Apache-2.0
"""When a speaker speaks, read off the energy of that speaker's audio, frame by frame.

A frame of :data:`FRAME_SECONDS` is active where the audio's power in it is

- at most :data:`OWN_RANGE_DB` below the speaker's own loud level, and
- at least :data:`NOISE_DB` over what is there all the time: the tenth percentile of the audio's
  power in the :data:`NOISE_SECONDS` around; but :data:`NOISE_RANGE_DB` below the loud level is
  enough, since who speaks without a pause leaves no noise to hear; and
- at most :data:`OTHERS_RANGE_DB` below the strongest other speaker's audio in the same frame:
  what somebody leaves in another output is fainter than that, and
- at most :data:`MIXTURE_RANGE_DB` below the power of the mixture (reference microphone) in the
  same frame: a direct path in reverberation and noise may be much fainter than they, and
- at most :data:`FLOOR_DB` below the mixture's loud level: what is left of noise is fainter.

Then pauses shorter than :data:`SHORTEST_PAUSE` are closed, and what is shorter than
:data:`SHORTEST_SOUND` is dropped. Loud levels do not count what lasts for less than
:data:`TRANSIENT_SECONDS` in all.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import find_objects, label, percentile_filter

FRAME_SECONDS = 0.032
OWN_RANGE_DB = 17.0
NOISE_DB, NOISE_RANGE_DB, NOISE_SECONDS = 6.0, 10.0, 8.0
OTHERS_RANGE_DB = 8.0
MIXTURE_RANGE_DB = 20.0
FLOOR_DB = 30.0
SHORTEST_PAUSE = 0.5
SHORTEST_SOUND = 0.1
TRANSIENT_SECONDS = 0.3

Powers = NDArray[np.float64]
Activity = NDArray[np.bool_]


def frame_length(sample_rate: int) -> int:
    """Return the samples in a frame."""
    return max(1, round(FRAME_SECONDS * sample_rate))


def frame_powers(audio: NDArray[np.float32], sample_rate: int) -> Powers:
    """Return mean powers, ``[..., sample]`` to ``[..., frame]``; the last frame may be short.

    >>> frame_powers(np.array([1, 1, 1, 1, 3], np.float32), 125).tolist()
    [1.0, 9.0]
    """
    length = frame_length(sample_rate)
    starts = np.arange(0, audio.shape[-1], length)
    if not len(starts):
        return np.zeros((*audio.shape[:-1], 0))
    sums = np.add.reduceat(np.square(audio, dtype=np.float64), starts, axis=-1)
    return np.asarray(sums / np.diff(np.append(starts, audio.shape[-1])))


class FramePowers:
    """:func:`frame_powers` of audio that comes in pieces of any length."""

    def __init__(self, sample_rate: int) -> None:
        self._sample_rate = sample_rate
        self._rest = np.zeros(0, np.float32)
        self._powers: list[Powers] = []

    def add(self, samples: NDArray[np.float32]) -> None:
        """Take the next samples ``[sample]``."""
        pending = np.concatenate([self._rest, samples])
        length = frame_length(self._sample_rate)
        whole = len(pending) - len(pending) % length
        self._powers.append(frame_powers(pending[:whole], self._sample_rate))
        self._rest = pending[whole:]

    def powers(self) -> Powers:
        """Return those of all that came, ``[frame]``."""
        return np.concatenate([*self._powers, frame_powers(self._rest, self._sample_rate)])


def without_transients(powers: Powers) -> Powers:
    """Return powers ``[frame]`` of which none is above the loudest level that is there for
    :data:`TRANSIENT_SECONDS`: a click, a pop or a door counts as no louder than speech."""
    level = lasting(powers, TRANSIENT_SECONDS)
    return np.minimum(powers, level) if level else powers


def lasting(powers: Powers, seconds: float) -> float:
    """Return the loudest level that ``[frame]`` has for so long in all, or for a quarter of it."""
    rank = min(round(seconds / FRAME_SECONDS), (len(powers) + 3) // 4)
    return float(np.partition(powers, len(powers) - rank)[len(powers) - rank]) if rank else 0.0


def loud_level(powers: Powers) -> float:
    """Return the power at which somebody speaks who does, of ``[frame]``: the mean power weighted
    by power, which long silence does not lower, nor a transient raise.

    >>> loud_level(np.array([1.0] * 10 + [0.0] * 1000 + [1e6] * 3))
    1.0
    """
    steady = without_transients(powers)
    return float(np.square(steady).sum() / steady.sum()) if steady.any() else 0.0


def activities_of(
    powers: Powers, mixture: Powers, frame_seconds: float, loud_mixture: float | None = None
) -> Activity:
    """Return where each speaker is active, bool ``[speaker, frame]``.

    Args:
        powers: of the speakers' audio ``[speaker, frame]``. mixture: of the reference microphone
            ``[frame]``.
        loud_mixture: loud level of the mixture, where more than these frames is known of it.
    """
    if loud_mixture is None:
        loud_mixture = loud_level(mixture)
    active = np.zeros(powers.shape, np.bool_)
    if not powers.size:
        return active
    for speaker, own in enumerate(powers):
        others = np.delete(powers, speaker, axis=0).max(axis=0, initial=0.0)
        loud = loud_level(own)
        span = max(1, round(NOISE_SECONDS / frame_seconds))
        noise = percentile_filter(own, 10, span, mode="nearest") * 10 ** (NOISE_DB / 10)
        heard = own > 0.0
        heard &= own >= loud * 10 ** (-OWN_RANGE_DB / 10)
        heard &= own >= np.minimum(noise, loud * 10 ** (-NOISE_RANGE_DB / 10))
        heard &= own >= others * 10 ** (-OTHERS_RANGE_DB / 10)
        heard &= own >= mixture * 10 ** (-MIXTURE_RANGE_DB / 10)
        heard &= own >= loud_mixture * 10 ** (-FLOOR_DB / 10)
        active[speaker] = without_gaps(heard, frame_seconds)
    return active


def without_gaps(
    heard: Activity, frame_seconds: float, shortest_pause: float = SHORTEST_PAUSE
) -> Activity:
    """Close pauses that are shorter, seconds, and drop sounds below :data:`SHORTEST_SOUND`."""
    closed = _without_short(~heard, round(shortest_pause / frame_seconds), keep_ends=True)
    return _without_short(~closed, round(SHORTEST_SOUND / frame_seconds))


def segments_of(activity: Activity, frame_seconds: float) -> list[tuple[float, float]]:
    """Return start and end in seconds of each run of active frames.

    >>> segments_of(np.array([False, True, True, False, True]), 0.5)
    [(0.5, 1.5), (2.0, 2.5)]
    """
    return [(start * frame_seconds, end * frame_seconds) for start, end in _runs(activity)]


def _without_short(marks: Activity, shortest: int, keep_ends: bool = False) -> Activity:
    """Drop the runs that are shorter; at the ends it is not known how long a run is."""
    kept = marks.copy()
    for start, end in _runs(marks):
        at_end = keep_ends and (start == 0 or end == len(marks))
        if end - start < shortest and not at_end:
            kept[start:end] = False
    return kept


def _runs(marks: Activity) -> list[tuple[int, int]]:
    """First and one past the last of each run."""
    return [(run.start, run.stop) for (run,) in find_objects(label(marks)[0])]
