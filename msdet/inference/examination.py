# SPDX-License-Identifier: Apache-2.0
"""Refusals and warnings that a recording's samples give cause for, before it is separated.

The same for files and for arrays in memory; block by block, in memory that does not grow.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from msdet.checkpoints import Description
from msdet.errors import InputError
from msdet.geometry import MicrophoneArray
from msdet.inference.array_check import ArrayCheck
from msdet.inference.microphones import unlike_training
from msdet.inference.window_network import SILENT_RMS

BLOCK_SECONDS = 10.0
"""Length of the audio that is looked at, or read, at a time."""

_CLIPPED_FROM = 0.98
"""Share of full scale: equal samples in a row above it are a peak that was cut."""
_FULL_SCALES = (2.0**15, 2.0**23, 2.0**31)
"""Full scales of integers that are stored as floats."""
_ROUNDED_ONE = 1.0001
"""Full scale of floats that were integers divided by 32767."""
_FAR_LOUDER = 1e6
"""Than the reference microphone: a broken channel, and too loud for floats of 32 bits."""
_FULL_BAND = 0.8
"""Share of the band that the model listens to: who has less is told. Filters take the rest."""


def examine(
    blocks: Iterable[NDArray[np.float32]],
    array: MicrophoneArray,
    sample_rate: int,
    description: Description,
    channels: Sequence[int],
    assumed: bool,
    names: Sequence[str] | None = None,
) -> tuple[int, list[str]]:
    """Look at all samples of a recording once; return their number, and what the user should know.

    Args:
        blocks: ``[mic, sample]``, of any length.
        channels: of the file, which are the microphones.
        assumed: nobody said which array it was made with.
        names: of the channels in messages; None takes their numbers.
    Raises:
        InputError: there are no samples, some are NaN or infinite, all channels are the same, the
            recording or its reference microphone is silent, channels differ beyond measure, or
            the array that was only assumed cannot have made it.
    """
    called = names or [f"channel {channel}" for channel in channels]
    examination = _Examination(array, sample_rate, description, channels, called, assumed)
    for block in blocks:
        examination.add(block)
    return examination.num_samples, examination.warnings()


class _Examination:
    def __init__(
        self,
        array: MicrophoneArray,
        sample_rate: int,
        description: Description,
        channels: Sequence[int],
        names: Sequence[str],
        assumed: bool,
    ) -> None:
        self._array, self._rate, self._description = array, sample_rate, description
        self._names, self._assumed = names, assumed
        self._energy = np.zeros(array.num_mics)
        self._spectrum = MeanSpectrum(sample_rate)
        self._clipped = dict.fromkeys((1.0, *_FULL_SCALES), 0)
        self._peak, self._is_whole, self._same_everywhere = 0.0, True, True
        self._check = ArrayCheck(array, sample_rate, channels)
        self.num_samples = 0

    def add(self, block: NDArray[np.float32]) -> None:
        wrong = ~np.isfinite(block).all(axis=0)
        if wrong.any():
            where = (self.num_samples + int(wrong.argmax())) / self._rate
            raise InputError(f"holds NaN or infinite samples, the first at {where:.3f} s")
        if not block.shape[1]:
            return
        self.num_samples += block.shape[1]
        self._energy += np.square(block, dtype=np.float64).sum(axis=1)
        self._spectrum.add(block[self._description.reference_mic])
        peak = float(np.abs(block).max())
        self._peak = max(self._peak, peak)
        self._is_whole &= peak <= 1 or bool((block == np.rint(block)).all())
        for scale in self._clipped:
            if peak >= _CLIPPED_FROM * scale:
                self._clipped[scale] += _equal_neighbours(block, _CLIPPED_FROM * scale)
        self._same_everywhere &= bool((block == block[:1]).all())
        self._check.add(block)

    def warnings(self) -> list[str]:
        self._refuse()
        misfits = self._check.misfits()
        wrong = [misfit.sentence for misfit in misfits if misfit.kind == "delays"]
        trained = self._array.name
        if self._assumed and wrong:
            raise InputError(
                f"array: none was named, and the model's own, {trained!r}, cannot have made this: "
                f"{wrong[0]}; name the microphones that it was made with"
            )
        said = [*unlike_training(self._array, self._description), *self._of_samples()]
        if self._assumed:
            said.append(
                f"array: none was named, and the model's own, {trained!r}, is assumed; if it was "
                "another one, directions and voices are wrong"
            )
        if not any(misfit.kind == "silent" for misfit in misfits):
            said += [
                f"{name} is silent: a dead microphone makes directions uncertain"
                for name, level in zip(self._names, self._levels, strict=True)
                if level < SILENT_RMS
            ]
        return said + [
            f"{misfit.sentence}; directions and voices may be wrong" for misfit in misfits
        ]

    @property
    def _levels(self) -> NDArray[np.float64]:
        return np.asarray(np.sqrt(self._energy / self.num_samples))

    def _refuse(self) -> None:
        if not self.num_samples:
            raise InputError("holds no samples")
        if self._same_everywhere and self._energy.any():  # silence has its own message
            raise InputError(
                "all channels are the same: a mono recording, copied, holds no directions"
            )
        levels, reference = self._levels, self._description.reference_mic
        if levels[reference] < SILENT_RMS:
            everything = "the recording" if levels.max() < SILENT_RMS else self._names[reference]
            raise InputError(f"{everything} is silent (the reference is microphone {reference})")
        loudest = int(levels.argmax())
        if levels[loudest] > _FAR_LOUDER * levels[reference]:
            louder = 20 * np.log10(levels[loudest] / levels[reference])
            raise InputError(
                f"{self._names[loudest]} is {louder:.0f} dB louder than {self._names[reference]} "
                f"(the reference is microphone {reference}): no microphones of one array differ "
                "by so much"
            )

    def _of_samples(self) -> Iterator[str]:
        clipped, listens_to = self._num_clipped, self._description.sample_rate / 2
        if clipped:
            share = 100 * clipped / (self.num_samples * len(self._names))
            yield (
                f"{clipped} samples are clipped ({share:.2g} %): directions and voices suffer; "
                "record with less gain"
            )
        edge = self._spectrum.edge
        if edge < _FULL_BAND * listens_to:
            yield (
                f"nothing is in it above {edge:.0f} Hz, as after a telephone or a codec; this "
                f"model listens up to {listens_to:.0f} Hz: expect less of it"
            )

    @property
    def _num_clipped(self) -> int:
        """Samples cut at full scale: that of integers where the file holds integers; floats go
        beyond 1 without being cut."""
        if self._peak <= _ROUNDED_ONE:
            return self._clipped[1.0]
        scale = next((scale for scale in _FULL_SCALES if self._peak <= scale), 1.0)
        return self._clipped[scale] if self._is_whole and scale > 1 else 0


def _equal_neighbours(block: NDArray[np.float32], least: float) -> int:
    """Samples of ``[mic, sample]`` that are as loud at least, and equal to one beside them."""
    cut = (block[:, 1:] == block[:, :-1]) & (np.abs(block[:, 1:]) >= least)
    both = np.zeros(block.shape, np.bool_)
    both[:, 1:] |= cut
    both[:, :-1] |= cut
    return int(both.sum())


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


class MeanSpectrum:
    """The mean power of one channel in bands, of audio that comes in blocks.

    >>> spectrum = MeanSpectrum(16000)
    >>> spectrum.add(np.random.default_rng(0).standard_normal(16000))
    >>> spectrum.edge
    8000.0
    """

    def __init__(self, sample_rate: int) -> None:
        self._rate = sample_rate
        self._size = max(2, round(sample_rate * _BINS_IN_BAND / _BAND_HZ))
        self._taper = np.hanning(self._size)
        self._powers = np.zeros(self._size // 2 + 1)

    def add(self, samples: NDArray[np.float32]) -> None:
        """Take the next ``[sample]``; what is left of a block after whole frames is passed over."""
        whole = len(samples) - len(samples) % self._size
        frames = samples[:whole].reshape(-1, self._size) * self._taper
        self._powers += np.square(np.abs(np.fft.rfft(frames))).sum(axis=0)

    @property
    def edge(self) -> float:
        """Hertz above which there is nothing; half the sample rate where it is full."""
        count = len(self._powers) // _BINS_IN_BAND
        bands = self._powers[: count * _BINS_IN_BAND].reshape(count, _BINS_IN_BAND).mean(axis=1)
        for band in range(round(_LOWEST_HZ / _BAND_HZ), count - _EDGE_BANDS):
            below = float(np.median(bands[band - _BELOW : band]))
            above = float(bands[band + _EDGE_BANDS :].max())
            if above < below * 10 ** (-_CLIFF_DB / 10):
                return (band + _EDGE_BANDS) * _BAND_HZ
        return self._rate / 2
