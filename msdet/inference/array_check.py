# SPDX-License-Identifier: Apache-2.0
"""A check that a recording's channels can be the microphones of an array, from physics alone.

Where the delays of all pairs of channels agree with one another, they are those of one wave. It
must fit the places of the microphones from some direction, and take no longer than sound does.
What the evidence does not suffice for is not said.

Figures beside thresholds are from 1000 simulated scenes with the train and valid voices;
`scripts/bench_array_check.py` counts on test voices.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from msdet.geometry import SPEED_OF_SOUND, MicrophoneArray
from msdet.inference.channel_delays import SHARED, ChannelDelays, Delays

Floats = NDArray[np.float64]
Kind = Literal["silent", "copy", "level", "foreign", "polarity", "delays", "elevation"]

SILENT_DB, LEVEL_DB = -70.0, 12.0
"""Against the median channel. Matching scenes, with gains off by 1.5 dB, stay within 8 dB."""
COPY = 3e-5
"""Power of one channel that another one does not explain; .11 or more in matching scenes."""
WELL_SHARED = 2.1
"""Height over that of noise which channels have in a recording where one that has less than
`SHARED` with any other stands out."""
FOREIGN_LOW = 0.6
"""Coherence at low frequencies: .67 or more where loud sound is shared, .55 at most where not."""
INVERTED = -0.1
"""(peak - trough) / (peak + trough), mean over a channel's pairs: .24 or more where all have one
polarity."""
FEWEST = 4
"""Stretches that agree, below which nothing is said of places."""
OFF, OFF_METRES = 0.15, 0.004
"""Median distance between delays and the nearest plane wave, as a share of the array's size (RMS
distance of its microphones from the centre), and in metres, since places are off by 2 mm at times.
With n stretches, the share is 1 + 2 / n times as large: four of diffuse noise come to .20. Of 24
stretches, it is .17 or less in matching scenes, and .3 in most of those of other arrays."""
SWAPPED, BETTER = 2 / 3, 0.4
"""Share of that limit, from which on a swap that leaves so little of the distance is believed all
the same (.06 of the size in matching scenes). Readings of misfits are named where they
leave as little."""
LARGER = 1.2
"""Delays as a multiple of what the array allows, median: 1.06 at most in matching scenes."""
SMALLER, SMALLEST, ALIKE, MANY = 0.62, 0.25, 0.75, 6
"""The same in nine of ten stretches: sound from 50 degrees above or below, or a smaller array. The
lowest fifth must be `ALIKE`, in at least `MANY`: noise from everywhere is at 0 to .6 evenly."""
LARGER_SAYS = "the delays between the channels are those of an array {:.2g} times as large"
SMALLER_SAYS = (
    "all sound comes from more than 50 degrees above or below the microphones, or they are closer "
    "together than stated ({:.2g} times)"
)


@dataclass(frozen=True)
class Misfit:
    """Something about the channels that does not fit the array.

    Attributes:
        kind: what sort of thing it is.
        mics: whose channels it is about; all of them where that cannot be told.
        sentence: for the user.
    """

    kind: Kind
    mics: tuple[int, ...]
    sentence: str

    @property
    def contradicts(self) -> bool:
        """True where the array cannot have made such channels at all."""
        return self.kind not in ("silent", "level", "elevation")


class ArrayCheck:
    """Gathers evidence from a recording block by block, in memory that does not grow.

    >>> array = separator.description.array
    >>> check = ArrayCheck(array, sample_rate=8000)
    >>> check.add(audio)
    >>> check.misfits()
    []
    >>> check = ArrayCheck(array, sample_rate=8000)
    >>> check.add(audio * [[1], [1], [-1], [1]])
    >>> print(check.misfits()[0].sentence)
    channel 2 has inverted polarity
    """

    def __init__(
        self, array: MicrophoneArray, sample_rate: int, channels: Sequence[int] | None = None
    ) -> None:
        """``channels``: what each microphone's channel is called in sentences; None: its number."""
        self._array = array
        self._points = array.as_array()
        self._names = tuple(channels) if channels is not None else tuple(range(array.num_mics))
        self._evidence = ChannelDelays(array, sample_rate)

    def add(self, block: NDArray[np.float32]) -> None:
        """Take the next ``[mic, sample]``, of any length."""
        self._evidence.add(block)

    def misfits(self) -> list[Misfit]:
        """Return all that does not fit; where channels are at fault, nothing of places."""
        delays = self._evidence.delays()
        if not len(delays.path):
            return []
        found = [*self._levels(), *self._copies()]
        if not any(misfit.kind != "level" for misfit in found):
            found += (
                [*self._foreign(delays)] or [*self._inverted(delays)] or [*self._places(delays)]
            )
        return found

    def _levels(self) -> Iterator[Misfit]:
        power = np.diag(self._evidence.gram)
        usual = np.median(power[power > 0])
        for mic, level in enumerate(10 * np.log10(np.maximum(power, 1e-30) / usual)):
            who = self._called([mic])
            if level < SILENT_DB:
                yield Misfit("silent", (mic,), f"{who} is silent")
            elif abs(level) > LEVEL_DB:
                text = (
                    f"{who} is {abs(level):.0f} dB {'louder' if level > 0 else 'quieter'} than the "
                    "others: is it a microphone of this array, and its gain the same?"
                )
                yield Misfit("level", (mic,), text)

    def _copies(self) -> Iterator[Misfit]:
        gram = self._evidence.gram
        power = np.diag(gram)
        heard = power > power.max() * 10 ** (SILENT_DB / 10)
        left = 1 - np.square(gram) / np.maximum(np.outer(power, power), 1e-30)
        same = (left < COPY) & np.outer(heard, heard)
        seen: set[int] = set()
        for mic in np.flatnonzero(same.sum(axis=0) > 1):
            group = tuple(int(i) for i in np.flatnonzero(same[mic]))
            if not seen & set(group):
                text = f"{self._called(group)} hold the same signal: two microphones never do"
                yield Misfit("copy", group, text)
            seen |= set(group)

    def _foreign(self, delays: Delays) -> Iterator[Misfit]:
        if len(delays.path) < FEWEST:
            return
        height = self._square(np.median(np.maximum(delays.height, delays.trough), axis=0))
        known = (values[np.isfinite(values)] for values in delays.low.T)
        low = self._square(
            np.array([np.median(v) if len(v) >= FEWEST else -1.0 for v in known])
        ).max(axis=0)
        height = height.max(axis=0) / self._evidence.noise_height
        strange = (height < SHARED) & (len(height) > 2) & (np.median(height) > WELL_SHARED)
        strange |= (low > 0) & (low < FOREIGN_LOW) & (height < WELL_SHARED)
        if not strange.any():
            return
        mics = tuple(int(i) for i in np.flatnonzero(strange))
        do = "does" if len(mics) == 1 else "do"
        them = "one another" if strange.all() else "the others"
        text = (
            f"{self._called(mics)} {do} not hear what {them} hear at the same time: played back or "
            "processed sound, another place, or devices that are not synchronised"
        )
        yield Misfit("foreign", mics, text)

    def _inverted(self, delays: Delays) -> Iterator[Misfit]:
        lean = (delays.height - delays.trough) / (delays.height + delays.trough)
        deepest = np.maximum(delays.height, delays.trough).mean(axis=1)
        lean = lean[deepest > SHARED * self._evidence.noise_height]
        if len(lean) < FEWEST:
            return
        table = self._square(np.median(lean, axis=0))
        _, vectors = np.linalg.eigh(table)
        sides = vectors[:, -1] * np.sign(np.median(vectors[:, -1]) or 1.0)
        against = (sides < 0) & (table.sum(axis=0) < 0)
        if len(sides) == 2:
            against[:] = table.min() < INVERTED
        elif (table[np.ix_(against, ~against)] > INVERTED).any():
            return
        if against.any():
            mics = tuple(int(i) for i in np.flatnonzero(against))
            told = f"{'have' if len(mics) > 1 else 'has'} inverted polarity"
            if len(sides) == 2:
                told = "have opposite polarities"
            yield Misfit("polarity", mics, f"{self._called(mics)} {told}")

    # --- places ---------------------------------------------------------------------------

    def _places(self, delays: Delays) -> Iterator[Misfit]:
        travel = self._evidence.travel()
        if len(travel) < FEWEST:
            return
        everyone = tuple(range(len(self._points)))
        size = float(np.sqrt(np.square(self._points).sum(axis=1).mean()))
        limit = max(OFF * size * (1 + 2 / len(travel)), OFF_METRES)
        off = _off(travel, self._points)
        times, free = _any_speed(travel, self._points)
        usual = float(np.median(times))
        swap, swapped = self._best_swap(travel)
        if off <= limit and not (off > SWAPPED * limit and swapped < BETTER * off):
            quick, slow = np.quantile(times, [0.2, 0.9])
            small = SMALLEST < slow < SMALLER and quick > ALIKE * slow and len(travel) >= MANY
            if usual > LARGER:
                yield Misfit("delays", everyone, LARGER_SAYS.format(usual))
            elif small and not self._array.is_linear:
                yield Misfit("elevation", everyone, SMALLER_SAYS.format(slow))
            return
        late = self._late(travel)
        if late is not None:
            yield late
        elif usual > LARGER and free < max(BETTER * off, limit):
            yield Misfit("delays", everyone, LARGER_SAYS.format(usual))
        elif swapped < BETTER * off:
            text = (
                f"{self._called(swap)} look swapped, or the microphones are others: the other way "
                "round, the delays between the channels fit this array"
            )
            yield Misfit("delays", swap, text)
        else:
            yield self._odd_one_out(travel, off, limit)

    def _best_swap(self, travel: Floats) -> tuple[tuple[int, int], float]:
        """The two channels that fit best if they are swapped, and the distance that is left."""
        found = {}
        for one, other in combinations(range(len(self._points)), 2):
            order = list(range(len(self._points)))
            order[one], order[other] = other, one
            found[one, other] = _off(travel[:, order], self._points)
        best = min(found, key=lambda pair: found[pair])
        return best, found[best]

    def _late(self, travel: Floats) -> Misfit | None:
        """A channel that is later or earlier than all others by more than sound takes to it."""
        if len(self._points) < 3:
            return None
        gaps = travel[:, :, None] - travel[:, None]
        reach = np.linalg.norm(self._points[:, None] - self._points[None], axis=-1)
        beyond = (np.abs(np.median(gaps, axis=0)) > LARGER * reach + OFF_METRES).sum(axis=1)
        mic = int(beyond.argmax())
        if beyond[mic] < len(reach) - 1 or (np.delete(beyond, mic) > 1).any():
            return None
        seconds = float(np.median(gaps[:, mic])) / SPEED_OF_SOUND
        side = "later" if seconds > 0 else "earlier"
        text = (
            f"{self._called([mic])} is {1000 * abs(seconds):.2g} ms {side} than the others, which "
            "sound would take much less for: another device, or processed sound"
        )
        return Misfit("delays", (mic,), text)

    def _odd_one_out(self, travel: Floats, off: float, limit: float) -> Misfit:
        """One microphone that is elsewhere than stated, or else all of them."""
        rest = {mic: np.delete(self._points, mic, axis=0) for mic in range(len(self._points))}
        left = {
            mic: _off(np.delete(travel, mic, axis=1), points)
            for mic, points in rest.items()
            if len(points) >= np.linalg.matrix_rank(points - points.mean(axis=0), tol=1e-3) + 2
        }
        if left and min(left.values()) < min(BETTER * off, limit):
            mic = min(left, key=lambda key: left[key])
            text = f"{self._called([mic])} does not fit its microphone's place, the others would"
            return Misfit("delays", (mic,), text)
        text = (
            f"the delays between the channels miss those of this array by {1000 * off:.0f} mm of "
            "travel: other microphones, another order of the channels, or devices that are not "
            "synchronised"
        )
        return Misfit("delays", tuple(rest), text)

    def _called(self, mics: Sequence[int]) -> str:
        names = [str(self._names[mic]) for mic in mics]
        if len(names) == 1:
            return f"channel {names[0]}"
        return f"channels {', '.join(names[:-1])} and {names[-1]}"

    def _square(self, values: Floats) -> Floats:
        """``[mic, mic]`` of ``[pair]``, 0 on the diagonal."""
        table = np.zeros((len(self._points), len(self._points)))
        first, second = self._evidence.pairs.T
        table[first, second] = table[second, first] = values
        return table


def _any_speed(travel: Floats, points: Floats) -> tuple[Floats, float]:
    """Time that the nearest plane wave of any speed takes, as a multiple of sound's ``[stretch]``,
    and the median distance to it, metres."""
    centred = points - points.mean(axis=0)
    slowness = travel @ np.linalg.pinv(centred, rcond=1e-3).T
    return np.linalg.norm(slowness, axis=1), _distance(travel, slowness, centred)


def _off(travel: Floats, points: Floats) -> float:
    """Median distance from delays ``[stretch, mic]`` to those of the nearest plane wave, metres."""
    centred, travel = points - points.mean(axis=0), travel - travel.mean(axis=1, keepdims=True)
    slowness = travel @ np.linalg.pinv(centred, rcond=1e-3).T
    slowness /= np.maximum(1.0, np.linalg.norm(slowness, axis=1, keepdims=True))
    return _distance(travel, slowness, centred)


def _distance(travel: Floats, slowness: Floats, centred: Floats) -> float:
    """Median over stretches of the root mean square over microphones, metres."""
    return float(np.median(np.sqrt(np.square(travel - slowness @ centred.T).mean(axis=1))))
