# SPDX-License-Identifier: Apache-2.0
"""A check that a recording's channels can be the microphones of an array, from physics alone.

Where the delays of all pairs of channels agree with one another, they are those of one wave. It
must fit the places of the microphones from some direction, and take no longer than sound does.
What the evidence does not suffice for is not said.

Figures beside thresholds are from 1000 simulated scenes with the train and valid voices;
`scripts/bench_array_check.py` counts on test voices.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.sparse.csgraph import connected_components
from scipy.spatial.distance import pdist, squareform

from msdet.geometry import SPEED_OF_SOUND, MicrophoneArray
from msdet.inference.channel_delays import SHARED, ChannelDelays

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
    channel 2: inverted polarity
    """

    def __init__(
        self, array: MicrophoneArray, sample_rate: int, names: Sequence[str] | None = None
    ) -> None:
        """``names``: what each microphone's channel is called in sentences; None: its number."""
        self._array, self._points = array, array.as_array()
        self._names = names or [f"channel {mic}" for mic in range(array.num_mics)]
        self._evidence = ChannelDelays(array, sample_rate)

    def add(self, block: NDArray[np.float32]) -> None:
        """Take the next ``[mic, sample]``, of ten seconds or so."""
        self._evidence.add(block)

    def misfits(self) -> list[Misfit]:
        """Return all that does not fit; where channels are at fault, nothing of places."""
        found = [*self._levels()]
        if len(self._evidence.path):
            found += self._copies()
            if all(misfit.kind == "level" for misfit in found):
                found += [*self._foreign()] or [*self._inverted()] or [*self._places()]
        return found

    def _misfit(self, kind: Kind, mics: Iterable[int], what: str) -> Misfit:
        mics = tuple(int(mic) for mic in mics)
        *others, last = (self._names[mic] for mic in mics)
        return Misfit(kind, mics, f"{', '.join(others)}{' and ' if others else ''}{last}: {what}")

    def _everywhere(self, kind: Kind, sentence: str) -> Misfit:
        return Misfit(kind, tuple(range(len(self._points))), sentence)

    # --- channels -------------------------------------------------------------------------

    def _levels(self) -> Iterator[Misfit]:
        power = np.diag(self._evidence.gram)
        if not power.any():
            return
        usual = np.median(power[power > 0])
        for mic, level in enumerate(10 * np.log10(np.maximum(power, 1e-30) / usual)):
            if level < SILENT_DB:
                yield self._misfit("silent", [mic], "silent")
            elif abs(level) > LEVEL_DB:
                what = (
                    f"{abs(level):.0f} dB {'louder' if level > 0 else 'quieter'} than the others: "
                    "is it a microphone of this array, and its gain the same?"
                )
                yield self._misfit("level", [mic], what)

    def _copies(self) -> Iterator[Misfit]:
        gram = self._evidence.gram
        power = np.diag(gram)
        heard = power > power.max() * 10 ** (SILENT_DB / 10)
        left = 1 - np.square(gram) / np.maximum(np.outer(power, power), 1e-30)
        count, group = connected_components((left < COPY) & np.outer(heard, heard))
        for number in range(count):
            if (group == number).sum() > 1:
                alike = np.flatnonzero(group == number)
                yield self._misfit("copy", alike, "one signal, which two microphones never hold")

    def _foreign(self) -> Iterator[Misfit]:
        evidence = self._evidence
        if len(evidence.path) < FEWEST:
            return
        deepest = np.median(np.maximum(evidence.height, evidence.trough), axis=0)
        height = squareform(deepest).max(axis=0)
        known = (values[np.isfinite(values)] for values in evidence.low.T)
        medians = [np.median(values) if len(values) >= FEWEST else -1.0 for values in known]
        low = squareform(medians).max(axis=0)
        strange = (height < SHARED) & (len(height) > 2) & (np.median(height) > WELL_SHARED)
        strange |= (low > 0) & (low < FOREIGN_LOW) & (height < WELL_SHARED)
        if strange.any():
            them = "one another" if strange.all() else "the others"
            what = (
                f"not what {them} hear at the same time: played back or processed sound, another "
                "place, or devices that are not synchronised"
            )
            yield self._misfit("foreign", np.flatnonzero(strange), what)

    def _inverted(self) -> Iterator[Misfit]:
        height, trough = self._evidence.height, self._evidence.trough
        clear = np.maximum(height, trough).mean(axis=1) > SHARED
        if clear.sum() < FEWEST:
            return
        table = squareform(np.median(((height - trough) / (height + trough))[clear], axis=0))
        _, vectors = np.linalg.eigh(table)
        sides = vectors[:, -1] * np.sign(np.median(vectors[:, -1]) or 1.0)
        against = (sides < 0) & (table.sum(axis=0) < 0)
        if len(sides) == 2:
            against[:] = table.min() < INVERTED
        elif (table[np.ix_(against, ~against)] > INVERTED).any():
            return
        if against.any():
            what = "opposite polarities" if len(sides) == 2 else "inverted polarity"
            yield self._misfit("polarity", np.flatnonzero(against), what)

    # --- places ---------------------------------------------------------------------------

    def _places(self) -> Iterator[Misfit]:
        travel, points = self._evidence.travel(), self._points
        if len(travel) < FEWEST:
            return
        size = float(np.sqrt(np.square(points).sum(axis=1).mean()))
        limit = max(OFF * size * (1 + 2 / len(travel)), OFF_METRES)
        off, free, times = _fit(travel, points)
        usual, (quick, slow) = float(np.median(times)), np.quantile(times, [0.2, 0.9])
        small = SMALLEST < slow < SMALLER and quick > ALIKE * slow and len(travel) >= MANY
        larger = self._everywhere(
            "delays",
            f"the delays between the channels are those of an array {usual:.2g} times as large",
        )
        swap, swapped = (0, 0), off
        for pair in combinations(range(len(points)), 2):
            order = np.arange(len(points))
            order[[*pair]] = pair[::-1]
            left = _fit(travel[:, order], points)[0]
            if left < swapped:
                swap, swapped = pair, left
        if off <= limit and not (off > SWAPPED * limit and swapped < BETTER * off):
            if usual > LARGER:
                yield larger
            elif small and not self._array.is_linear:
                yield self._everywhere(
                    "elevation",
                    "all sound comes from more than 50 degrees above or below the microphones, or "
                    f"they are closer together than stated ({slow:.2g} times)",
                )
        elif late := [*self._late(travel)]:
            yield from late
        elif usual > LARGER and free < max(BETTER * off, limit):
            yield larger
        elif swapped < BETTER * off:
            what = (
                "they look swapped, or the microphones are others: the other way round, the delays "
                "between the channels fit this array"
            )
            yield self._misfit("delays", swap, what)
        else:
            yield self._everywhere(
                "delays",
                "the delays between the channels miss those of this array by "
                f"{1000 * off:.0f} mm of travel: other microphones, one that is elsewhere, another "
                "order of the channels, or devices that are not synchronised",
            )

    def _late(self, travel: Floats) -> Iterator[Misfit]:
        """A channel that is later or earlier than all others by more than sound takes to it."""
        gaps = travel[:, :, None] - travel[:, None]
        reach = LARGER * squareform(pdist(self._points)) + OFF_METRES
        beyond = (np.abs(np.median(gaps, axis=0)) > reach).sum(axis=1)
        mic, last = int(beyond.argmax()), len(reach) - 1
        if last > 1 and beyond[mic] == last and (np.delete(beyond, mic) <= 1).all():
            seconds = float(np.median(gaps[:, mic])) / SPEED_OF_SOUND
            what = (
                f"{1000 * abs(seconds):.2g} ms {'later' if seconds > 0 else 'earlier'} than the "
                "others, which sound would take much less for: another device, or processed sound"
            )
            yield self._misfit("delays", [mic], what)


def _fit(travel: Floats, points: Floats) -> tuple[float, float, Floats]:
    """Fit a plane wave to delays ``[stretch, mic]``.

    Returns:
        Median over stretches of the RMS distance over microphones, metres, to the nearest wave that
        is no slower than sound, and to that of any speed; the time that the latter takes, as a
        multiple of sound's ``[stretch]``.
    """
    centred, travel = points - points.mean(axis=0), travel - travel.mean(axis=1, keepdims=True)
    slowness = travel @ np.linalg.pinv(centred, rcond=1e-3).T
    times = np.linalg.norm(slowness, axis=1)
    off, free = (
        float(np.median(np.sqrt(np.square(travel - wave @ centred.T).mean(axis=1))))
        for wave in (slowness / np.maximum(1.0, times)[:, None], slowness)
    )
    return off, free, times
