# SPDX-License-Identifier: Apache-2.0
"""Recordings on disk: what files hold, whether it can be used, and their audio block by block.

A recording is a file with all microphones, or files of one microphone each.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

from msdet.checkpoints import Description
from msdet.errors import InputError
from msdet.geometry import MicrophoneArray
from msdet.inference.bandwidth import MeanSpectrum
from msdet.inference.estimates import SILENT_RMS
from msdet.inference.riff import missing_seconds, with_length
from msdet.inference.unlike_training import how_to_train, needs

BLOCK_SECONDS = 10.0

COPIED_MONO = "all channels are the same: a mono recording, copied, holds no directions"

_CLIPPED_FROM = 0.98
"""Of full scale: equal samples in a row above it are a peak that was cut."""
_FULL_SCALES = (2.0**15, 2.0**23, 2.0**31)
"""Of integers that are stored as floats."""
_ROUNDED_ONE = 1.0001
"""Full scale of floats that were integers divided by 32767."""
_ESTIMATED_SECONDS = 0.5
"""By so much a compressed file may be shorter than its number of frames lets expect."""
_LONGEST = 1e9
"""Seconds; what says that it lasts longer does not know, and cannot be read."""
_FAR_LOUDER = 1e6
"""Than the reference microphone: a broken channel, and too loud for floats of 32 bits."""
_FULL_BAND = 0.8
"""Of what the model listens to: who has less is told. Filters take the rest."""
_LENGTHS_DIFFER = 0.05
"""Seconds, a buffer of a recorder that was stopped: what differs more is no one recording."""


@dataclass(frozen=True)
class Recording:
    """Files, and which of their channels are the microphones.

    Attributes:
        files: one with all channels, or one a channel.
        subtype: how samples are stored, as soundfile calls it. num_samples: that can be read.
        reference: index into ``channels`` of the model's reference microphone.
        warnings: what the user should know of, a sentence each.
    """

    files: tuple[Path, ...]
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
            InputError: a file changed, or the disk fails.
        """
        size, left = round(BLOCK_SECONDS * self.sample_rate), self.num_samples
        name = self.files[0]
        try:
            with ExitStack() as stack:
                sounds = [stack.enter_context(_opened(file)) for file in self.files]
                while left > 0:
                    rows = _read(sounds, min(size, left), self.channels)
                    if not len(rows):
                        raise InputError(f"{name}: became shorter while it was read")
                    left -= len(rows)
                    yield np.ascontiguousarray(rows.T)
        except (soundfile.LibsndfileError, RuntimeError) as error:
            raise InputError(f"{name}: cannot be read any further ({error})") from error


def open_recording(
    files: Sequence[Path],
    array: MicrophoneArray,
    channels: Sequence[int] | None,
    description: Description,
) -> Recording:
    """Read all once, block by block, to see that it can be used.

    Args:
        files: one with all channels, or one a microphone, which are then the channels in this
            order.
        channels: which channel is each microphone; None takes the array's own.
        description: of the model, whose reference microphone must not be silent.
    Raises:
        InputError: names the file and what is wrong with it: it is no audio, holds no samples,
            the wrong number of channels, the same in all of them, NaN, or silence; or the files
            are not of one recording.
    """
    path, reference = files[0], description.reference_mic
    with ExitStack() as stack:
        sounds = [stack.enter_context(_opened(file)) for file in files]
        cut = _check_together(files, sounds) if len(files) > 1 else 0
        picks = _microphones(files, sounds[0].channels, array, channels, description)
        names = [files[pick].name if len(files) > 1 else f"channel {pick}" for pick in picks]
        try:
            scan = _scan(path, sounds, picks, reference)
        except (soundfile.LibsndfileError, RuntimeError) as error:
            raise InputError(f"{path}: cannot be read as audio ({error})") from error
        rate, subtype = sounds[0].samplerate, sounds[0].subtype
        unread = min(sound.frames for sound in sounds) - scan.num_samples
    if scan.num_samples == 0:
        raise InputError(f"{path}: holds no samples")
    if scan.same_everywhere:
        raise InputError(f"{path}: {COPIED_MONO}")
    levels = np.sqrt(scan.energy / scan.num_samples)
    if levels[reference] < SILENT_RMS:
        everything = "the recording" if levels.max() < SILENT_RMS else names[reference]
        raise InputError(
            f"{path}: {everything} is silent (the reference is microphone {reference})"
        )
    for name, level in zip(names, levels, strict=True):
        if level > _FAR_LOUDER * levels[reference]:
            louder = 20 * np.log10(level / levels[reference])
            raise InputError(
                f"{path}: {name} is {louder:.0f} dB louder than {names[reference]} (the reference "
                f"is microphone {reference}): no microphones of one array differ by so much"
            )
    warnings = list(_cut_off(files, unread / rate))
    if cut:
        warnings.append(
            f"the files differ in length by {cut} samples at most and are cut to the shortest; had "
            "they not begun at the same time, no direction would be right"
        )
    warnings += _warnings(scan, levels, names, description.sample_rate)
    return Recording(
        tuple(files), rate, scan.num_samples, subtype, picks, reference, tuple(warnings)
    )


@contextmanager
def _opened(file: Path) -> Iterator[soundfile.SoundFile]:
    if not os.path.isfile(file):
        is_there = "is a folder, a pipe or a device; save the audio as a file, which is read twice"
        raise InputError(f"{file}: {is_there if os.path.exists(file) else 'no such file'}")
    with ExitStack() as stack:
        try:
            # soundfile takes names that are not UTF-8 as bytes alone; Windows has none of these.
            source: Any = os.fsencode(file) if os.name == "posix" else file
            mended = with_length(file)
            if mended is not None:
                source = stack.enter_context(mended)
            sound = stack.enter_context(soundfile.SoundFile(source))
        except (soundfile.LibsndfileError, RuntimeError, TypeError, OSError) as error:
            told = getattr(error, "error_string", error)  # without the name in bytes
            raise InputError(f"{file}: cannot be read as audio ({told})") from error
        if sound.frames > _LONGEST * sound.samplerate:
            raise InputError(
                f"{file}: is a stream that does not say how long it is; write it to a file, "
                "such as by: ffmpeg -i IN.flac OUT.flac"
            )
        yield sound


def _read(
    sounds: Sequence[soundfile.SoundFile], size: int, picks: Sequence[int]
) -> NDArray[np.float32]:
    """The next samples ``[sample, mic]`` of all files, as many as all of them have."""
    if len(sounds) == 1:
        rows = sounds[0].read(size, dtype="float32", always_2d=True)
        return np.asarray(rows[:, list(picks)])
    parts = [sounds[pick].read(size, dtype="float32") for pick in picks]
    shortest = min(map(len, parts))
    return np.stack([part[:shortest] for part in parts], axis=1)


def _check_together(files: Sequence[Path], sounds: Sequence[soundfile.SoundFile]) -> int:
    """See that files are the microphones of one recording; returns by how many samples they
    differ in length."""
    first = sounds[0]
    for file, sound in zip(files, sounds, strict=True):
        if sound.channels != 1:
            raise InputError(
                f"{file}: has {sound.channels} channels; of files that are one recording together, "
                "each is one microphone"
            )
        if sound.samplerate != first.samplerate:
            raise InputError(
                f"{file}: has {sound.samplerate} Hz, but {files[0].name} {first.samplerate} Hz; "
                "files of one recording have one sample rate"
            )
    by_length = sorted(range(len(files)), key=lambda index: sounds[index].frames)
    shortest, longest = (sounds[index].frames for index in (by_length[0], by_length[-1]))
    if longest - shortest > _LENGTHS_DIFFER * first.samplerate:
        raise InputError(
            f"{files[by_length[0]]}: lasts {shortest / first.samplerate:.3f} s, but "
            f"{files[by_length[-1]].name} {longest / first.samplerate:.3f} s; files of one "
            f"recording differ by {_LENGTHS_DIFFER} s at most"
        )
    return int(longest - shortest)


@dataclass
class _Scan:
    num_samples: int
    energy: NDArray[np.float64]
    spectrum: MeanSpectrum
    clipped: dict[float, int]
    peak: float = 0.0
    is_whole: bool = True
    same_everywhere: bool = True

    @property
    def num_clipped(self) -> int:
        """Samples cut at full scale: that of integers where the file holds integers; floats go
        beyond 1 without being cut."""
        if self.peak <= _ROUNDED_ONE:
            return self.clipped[1.0]
        scale = next((scale for scale in _FULL_SCALES if self.peak <= scale), 1.0)
        return self.clipped[scale] if self.is_whole and scale > 1 else 0


def _microphones(
    files: Sequence[Path],
    count: int,
    array: MicrophoneArray,
    channels: Sequence[int] | None,
    description: Description,
) -> tuple[int, ...]:
    path = files[0]
    if len(files) > 1:
        count = len(files)
    elif count == 1:
        raise InputError(
            f"{path}: is mono: directions need one channel for each of the {array.num_mics} "
            f"microphones of array {array.name!r}; where each microphone has a file of its own, "
            "name them all, in the microphones' order, and add --together"
        )
    what = f"{count} files" if len(files) > 1 else f"{count} channels"
    if channels is not None:
        if len(channels) != array.num_mics or len(set(channels)) != len(channels):
            raise InputError(
                f"channels={list(channels)}: name one different channel for each of the "
                f"{array.num_mics} microphones of array {array.name!r}"
            )
        if max(channels) >= count or min(channels) < 0:
            wrong = min(channels) if min(channels) < 0 else max(channels)
            raise InputError(
                f"{path}: {what}, counted from 0; channels={list(channels)} names {wrong}"
            )
        return tuple(channels)
    picks = array.microphones_of(count)
    if picks is None:
        few = not description.array.is_linear and count < 3
        more = f"; {how_to_train(None, linear=True)}" if few else ""
        raise InputError(
            f"{path}: {what}, but the array {array.name!r} has {array.num_mics} microphones; give "
            "array= of your microphones, or channels= to say which channel is each of them; this "
            f"model needs {needs(description)}{more}"
        )
    return picks


def _scan(
    path: Path, sounds: Sequence[soundfile.SoundFile], picks: tuple[int, ...], reference: int
) -> _Scan:
    rate = sounds[0].samplerate
    scan = _Scan(
        0, np.zeros(len(picks)), MeanSpectrum(rate), dict.fromkeys((1.0, *_FULL_SCALES), 0)
    )
    size = round(BLOCK_SECONDS * rate)
    while True:
        try:
            rows = _read(sounds, size, picks)
        except (soundfile.LibsndfileError, RuntimeError):
            if not scan.num_samples:
                raise
            break  # a compressed file that ends in the middle
        if not len(rows):
            break
        wrong = ~np.isfinite(rows).all(axis=1)
        if wrong.any():
            where = (scan.num_samples + int(wrong.argmax())) / rate
            raise InputError(f"{path}: holds NaN or infinite samples, the first at {where:.3f} s")
        scan.num_samples += len(rows)
        scan.energy += np.square(rows, dtype=np.float64).sum(axis=0)
        scan.spectrum.add(rows[:, reference])
        peak = float(np.abs(rows).max())
        scan.peak = max(scan.peak, peak)
        scan.is_whole &= peak <= 1 or bool((rows == np.rint(rows)).all())
        for scale in scan.clipped:
            if peak >= _CLIPPED_FROM * scale:
                scan.clipped[scale] += _equal_neighbours(rows, _CLIPPED_FROM * scale)
        scan.same_everywhere &= bool((rows == rows[:, :1]).all())
    scan.same_everywhere &= bool(scan.energy.any())  # silence has its own message
    return scan


def _equal_neighbours(rows: NDArray[np.float32], least: float) -> int:
    """Samples of ``[sample, mic]`` that are as loud at least, and equal to one beside them."""
    cut = (rows[1:] == rows[:-1]) & (np.abs(rows[1:]) >= least)
    both = np.zeros(rows.shape, np.bool_)
    both[1:] |= cut
    both[:-1] |= cut
    return int(both.sum())


def _cut_off(files: Sequence[Path], unread: float) -> Iterator[str]:
    """Args: unread: seconds that the decoder expects and does not give."""
    for file in files:
        missing = missing_seconds(file)
        if not missing and unread > _ESTIMATED_SECONDS:
            missing = unread
        if missing > 0:
            name = f"{file.name}: " if len(files) > 1 else ""
            yield (
                f"{name}the file ends in the middle: {missing:.3f} s that its header announces are "
                "not there; what is there was separated"
            )


def _warnings(
    scan: _Scan, levels: NDArray[np.float64], names: Sequence[str], model_rate: int
) -> Iterator[str]:
    if scan.num_clipped:
        share = 100 * scan.num_clipped / (scan.num_samples * len(names))
        yield (
            f"{scan.num_clipped} samples are clipped ({share:.2g} %): directions and voices "
            "suffer; record with less gain"
        )
    if scan.spectrum.edge < _FULL_BAND * model_rate / 2:
        yield (
            f"nothing is in it above {scan.spectrum.edge:.0f} Hz, as after a telephone or a codec; "
            f"this model listens up to {model_rate / 2:.0f} Hz: expect less of it"
        )
    for name, level in zip(names, levels, strict=True):
        if level < SILENT_RMS:
            yield f"{name} is silent: a dead microphone makes directions uncertain"
