# SPDX-License-Identifier: Apache-2.0
"""Recordings on disk: what a file holds, whether it can be used, and its audio block by block."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from msdet.errors import InputError
from msdet.geometry import MicrophoneArray
from msdet.inference.estimates import SILENT_RMS
from msdet.inference.riff import missing_seconds

BLOCK_SECONDS = 10.0

COPIED_MONO = "all channels are the same: a mono recording, copied, holds no directions"

_CLIPPED_FROM = 0.98
"""Of full scale: equal samples in a row above it are a peak that was cut."""


@dataclass(frozen=True)
class Recording:
    """A file, and which of its channels are the microphones.

    Attributes:
        subtype: how samples are stored, as soundfile calls it. num_samples: that can be read.
        reference: index into ``channels`` of the model's reference microphone.
        warnings: what the user should know of, a sentence each.
    """

    path: Path
    sample_rate: int
    num_samples: int
    subtype: str
    channels: tuple[int, ...]
    reference: int
    warnings: tuple[str, ...] = ()

    @property
    def duration(self) -> float:
        """Seconds."""
        return self.num_samples / self.sample_rate

    def blocks(self) -> Iterator[NDArray[np.float32]]:
        """The microphones' audio ``[mic, sample]``.

        Raises:
            InputError: the file changed, or the disk fails.
        """
        size, left = round(BLOCK_SECONDS * self.sample_rate), self.num_samples
        try:
            with soundfile.SoundFile(self.path) as file:
                while left > 0:
                    rows = file.read(min(size, left), dtype="float32", always_2d=True)
                    if not len(rows):
                        raise InputError(f"{self.path}: became shorter while it was read")
                    left -= len(rows)
                    yield np.ascontiguousarray(rows[:, list(self.channels)].T)
        except (soundfile.LibsndfileError, RuntimeError) as error:
            raise InputError(f"{self.path}: cannot be read any further ({error})") from error


def open_recording(
    path: Path, array: MicrophoneArray, channels: Sequence[int] | None, reference: int
) -> Recording:
    """Read a file once, block by block, to see that all of it can be used.

    Args:
        channels: which channel of the file is each microphone; None takes the array's own.
        reference: the microphone that must not be silent.
    Raises:
        InputError: names the file and what is wrong with it: it is no audio, holds no samples,
            the wrong number of channels, the same in all of them, NaN, or silence.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        with soundfile.SoundFile(path) as file:
            picks = _microphones(path, file.channels, array, channels)
            scan = _scan(path, file, picks)
            rate, subtype, frames = file.samplerate, file.subtype, file.frames
    except (soundfile.LibsndfileError, RuntimeError, TypeError) as error:
        raise InputError(f"{path}: cannot be read as audio ({error})") from error
    if scan.num_samples == 0:
        raise InputError(f"{path}: holds no samples")
    if scan.same_everywhere:
        raise InputError(f"{path}: {COPIED_MONO}")
    levels = np.sqrt(scan.energy / scan.num_samples)
    if levels[reference] < SILENT_RMS:
        everything = "the recording" if levels.max() < SILENT_RMS else f"channel {picks[reference]}"
        raise InputError(
            f"{path}: {everything} is silent (the reference is microphone {reference})"
        )
    return Recording(
        path,
        rate,
        scan.num_samples,
        subtype,
        picks,
        reference,
        tuple(_warnings(path, scan, levels, picks, max(0, frames - scan.num_samples) / rate)),
    )


@dataclass
class _Scan:
    num_samples: int
    energy: NDArray[np.float64]
    clipped: int
    same_everywhere: bool


def _microphones(
    path: Path, count: int, array: MicrophoneArray, channels: Sequence[int] | None
) -> tuple[int, ...]:
    if count == 1:
        raise InputError(
            f"{path}: is mono: directions need one channel for each of the {array.num_mics} "
            f"microphones of array {array.name!r}"
        )
    if channels is not None:
        if len(channels) != array.num_mics or len(set(channels)) != len(channels):
            raise InputError(
                f"channels={list(channels)}: name one different channel for each of the "
                f"{array.num_mics} microphones of array {array.name!r}"
            )
        if max(channels) >= count or min(channels) < 0:
            raise InputError(
                f"{path}: has {count} channels, counted from 0; channels={list(channels)} names "
                f"channel {max(channels)}"
            )
        return tuple(channels)
    picks = array.microphones_of(count)
    if picks is None:
        raise InputError(
            f"{path}: {count} channels, but the array {array.name!r} has {array.num_mics} "
            "microphones; give array=, or channels= to say which channel is each microphone"
        )
    return picks


def _scan(path: Path, file: soundfile.SoundFile, picks: tuple[int, ...]) -> _Scan:
    scan = _Scan(0, np.zeros(len(picks)), 0, True)
    size = round(BLOCK_SECONDS * file.samplerate)
    while True:
        try:
            rows = file.read(size, dtype="float32", always_2d=True)[:, list(picks)]
        except (soundfile.LibsndfileError, RuntimeError):
            if not scan.num_samples:
                raise
            break  # a compressed file that ends in the middle
        if not len(rows):
            break
        wrong = ~np.isfinite(rows).all(axis=1)
        if wrong.any():
            where = (scan.num_samples + int(wrong.argmax())) / file.samplerate
            raise InputError(f"{path}: holds NaN or infinite samples, the first at {where:.3f} s")
        scan.num_samples += len(rows)
        scan.energy += np.square(rows, dtype=np.float64).sum(axis=0)
        cut = (rows[1:] == rows[:-1]) & (np.abs(rows[1:]) >= _CLIPPED_FROM)
        both = np.zeros(rows.shape, np.bool_)
        both[1:] |= cut
        both[:-1] |= cut
        scan.clipped += int(both.sum())
        scan.same_everywhere &= bool((rows == rows[:, :1]).all())
    scan.same_everywhere &= bool(scan.energy.any())  # silence has its own message
    return scan


def _warnings(
    path: Path,
    scan: _Scan,
    levels: NDArray[np.float64],
    picks: tuple[int, ...],
    unread: float,
) -> Iterator[str]:
    missing = missing_seconds(path) or unread
    if missing > 0:
        yield (
            f"the file ends in the middle: {missing:.3f} s that its header announces are not "
            "there; what is there was separated"
        )
    if scan.clipped:
        share = 100 * scan.clipped / (scan.num_samples * len(picks))
        yield (
            f"{scan.clipped} samples are clipped ({share:.2g} %): directions and voices suffer; "
            "record with less gain"
        )
    for channel, level in zip(picks, levels, strict=True):
        if level < SILENT_RMS:
            yield f"channel {channel} is silent: a dead microphone makes directions uncertain"
