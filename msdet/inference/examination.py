# SPDX-License-Identifier: Apache-2.0
"""Refusals and warnings that a recording's samples give cause for, before it is separated.

The same for files and for arrays in memory; block by block, in memory that does not grow.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.signal import welch

from msdet.checkpoints import Description
from msdet.errors import InputError
from msdet.geometry import MicrophoneArray
from msdet.inference.array_check import ArrayCheck
from msdet.inference.microphones import unlike_training
from msdet.inference.window_network import SILENT_RMS

BLOCK_SECONDS = 10.0
"""Length of the audio that is looked at, or read, at a time."""

_FULL_SCALES = (1.0001, 2.0**15, 2.0**23, 2.0**31, np.inf)
"""Full scales of floats, some of which were integers divided by 32767, and of integers that are
stored as floats."""
_CLIPPED_FROM = 0.98
"""Share of full scale: equal samples in a row above it are a peak that was cut."""
_FAR_LOUDER = 1e6
"""Than the reference microphone: a broken channel, and too loud for floats of 32 bits."""
_FULL_BAND = 0.8
"""Share of the band that the model listens to: who has less is told. Filters take the rest."""


def examine(
    blocks: Iterable[NDArray[np.float32]],
    array: MicrophoneArray,
    sample_rate: int,
    description: Description,
    names: Sequence[str],
    assumed: bool,
) -> tuple[int, list[str]]:
    """Look at all samples of a recording once; return their number, and what the user should know.

    Args:
        blocks: ``[mic, sample]``, of :data:`BLOCK_SECONDS` but for the last one.
        names: of the microphones' channels in messages.
        assumed: nobody said which array it was made with.
    Raises:
        InputError: there are no samples, some are NaN or infinite, all channels are the same, the
            recording or its reference microphone is silent, channels differ beyond measure, or
            the array that was only assumed cannot have made it.
    """
    check, clipping = ArrayCheck(array, sample_rate, names), _Clipping()
    energy, powers = np.zeros(array.num_mics), powers_of(np.zeros(0, np.float32), sample_rate)
    count, mono = 0, True
    for block in blocks:
        wrong = ~np.isfinite(block).all(axis=0)
        if wrong.any():
            where = (count + int(wrong.argmax())) / sample_rate
            raise InputError(f"holds NaN or infinite samples, the first at {where:.3f} s")
        if block.shape[1]:
            count += block.shape[1]
            mono &= bool((block == block[:1]).all())
            energy += np.square(block, dtype=np.float64).sum(axis=1)
            powers += powers_of(block[description.reference_mic], sample_rate)
            clipping.add(block)
            check.add(block)
    if not count:
        raise InputError("holds no samples")
    if mono and energy.any():  # silence has its own message
        raise InputError("all channels are the same: a mono recording, copied, holds no directions")
    _refuse_levels(np.sqrt(energy / count), description.reference_mic, names)
    misfits, warnings = check.misfits(), unlike_training(array, description)
    if clipping.count:
        share = 100 * clipping.count / (count * array.num_mics)
        warnings.append(
            f"{clipping.count} samples are clipped ({share:.2g} %): directions and voices suffer; "
            "record with less gain"
        )
    edge = upper_edge(powers) or sample_rate / 2
    listens_to = description.sample_rate / 2
    if edge < _FULL_BAND * listens_to:
        warnings.append(
            f"nothing is in it above {edge:.0f} Hz, as after a telephone or a codec; this model "
            f"listens up to {listens_to:.0f} Hz: expect less of it"
        )
    if assumed:
        own = f"array: none was named, and the model's own, {array.name!r}, "
        for misfit in misfits:
            if misfit.kind == "delays":
                raise InputError(
                    f"{own}cannot have made this: {misfit.sentence}; name the microphones that it "
                    "was made with"
                )
        warnings.append(f"{own}is assumed; if it was another one, directions and voices are wrong")
    told = (f"{misfit.sentence}; directions and voices may be wrong" for misfit in misfits)
    return count, [*warnings, *told]


def _refuse_levels(levels: NDArray[np.float64], reference: int, names: Sequence[str]) -> None:
    told = f"(the reference is microphone {reference})"
    if levels[reference] < SILENT_RMS:
        silent = "the recording" if levels.max() < SILENT_RMS else names[reference]
        raise InputError(f"{silent} is silent {told}")
    loudest = int(levels.argmax())
    if levels[loudest] > _FAR_LOUDER * levels[reference]:
        louder = 20 * np.log10(levels[loudest] / levels[reference])
        raise InputError(
            f"{names[loudest]} is {louder:.0f} dB louder than {names[reference]} {told}: no "
            "microphones of one array differ by so much"
        )


class _Clipping:
    """Counts samples cut at full scale: that of integers where the file holds integers; floats go
    beyond 1 without being cut."""

    def __init__(self) -> None:
        self._scale, self._cut, self._is_whole = _FULL_SCALES[0], 0, True

    def add(self, block: NDArray[np.float32]) -> None:
        peak = float(np.abs(block).max())
        scale = next(scale for scale in _FULL_SCALES if peak <= scale)
        if scale > self._scale:  # all that came before is far below it
            self._scale, self._cut = scale, 0
        self._is_whole &= peak <= _FULL_SCALES[0] or bool((block == np.rint(block)).all())
        loud = np.abs(block) >= _CLIPPED_FROM * self._scale
        if loud.any():
            same = np.diff(block, axis=1, prepend=np.nan, append=np.nan) == 0
            self._cut += int((loud & (same[:, 1:] | same[:, :-1])).sum())

    @property
    def count(self) -> int:
        return self._cut if self._is_whole or self._scale == _FULL_SCALES[0] else 0


# --- bandwidth: telephones and codecs cut what is above a frequency ---------------------------

_BAND_HZ = 250.0
_BINS_IN_BAND = 5
_BELOW = 4
"""Bands whose median says how loud it is below an edge: one loud tone does not."""
_EDGE_BANDS = 2
"""Bands in which filters fall off."""
_LOWEST_HZ = 2000.0
"""Telephones carry more; hum and rumble stand out as much from all that is above them."""
_CLIFF_DB = 30.0
"""Speech and noise fall off by less within an edge. Of 19 bundled voices, upsampled from 8 kHz and
rounded to 16 bits, all are found at -25 and -35 dBFS, 16 at -50 dBFS, and none that is whole."""


def powers_of(samples: NDArray[np.float32], sample_rate: int) -> NDArray[np.float64]:
    """Return the energies of ``[sample]`` in steps of 50 Hz."""
    size = max(2, round(sample_rate * _BINS_IN_BAND / _BAND_HZ))
    if len(samples) < size:
        return np.zeros(size // 2 + 1)
    _, powers = welch(samples.astype(np.float64), nperseg=size, noverlap=0, detrend=False)
    return np.asarray(powers * len(samples))


def upper_edge(powers: NDArray[np.float64]) -> float | None:
    """Return the hertz above which there is nothing; None where the whole band is full."""
    whole = len(powers) - len(powers) % _BINS_IN_BAND
    bands = powers[:whole].reshape(-1, _BINS_IN_BAND).mean(axis=1)
    for band in range(round(_LOWEST_HZ / _BAND_HZ), len(bands) - _EDGE_BANDS):
        below = float(np.median(bands[band - _BELOW : band]))
        if bands[band + _EDGE_BANDS :].max() < below * 10 ** (-_CLIFF_DB / 10):
            return (band + _EDGE_BANDS) * _BAND_HZ
    return None
