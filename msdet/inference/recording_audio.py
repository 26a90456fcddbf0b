# SPDX-License-Identifier: Apache-2.0
"""Recordings on disk: what files hold, whether it can be used, and their audio block by block.

A recording is a file with all microphones, or files of one microphone each.
"""

from __future__ import annotations

import io
import os
import struct
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
from msdet.inference.examination import BLOCK_SECONDS, examine
from msdet.inference.microphones import how_to_train, needs

_ESTIMATED_SECONDS = 0.5
"""By so much a compressed file may be shorter than its number of frames lets expect."""
_LONGEST = 1e9
"""Seconds; what says that it lasts longer does not know, and cannot be read."""
_LENGTHS_DIFFER = 0.05
"""Seconds, a buffer of a recorder that was stopped: what differs more is no one recording."""


@dataclass(frozen=True)
class CheckedRecording:
    """Files that can be separated, and which of their channels are the microphones.

    Attributes:
        files: one with all channels, or one a channel.
        subtype: how samples are stored, as soundfile calls it. num_samples: that can be read.
        warnings: what the user should know of, a sentence each.
    """

    files: tuple[Path, ...]
    sample_rate: int
    num_samples: int
    subtype: str
    channels: tuple[int, ...]
    warnings: tuple[str, ...] = ()

    @property
    def duration(self) -> float:
        """Seconds."""
        return self.num_samples / self.sample_rate

    def blocks(self) -> Iterator[NDArray[np.float32]]:
        """Read the microphones' audio ``[mic, sample]``.

        Raises:
            InputError: a file changed, or the disk fails.
        """
        size, left = round(BLOCK_SECONDS * self.sample_rate), self.num_samples
        name = self.files[0]
        try:
            with ExitStack() as stack:
                sounds = [stack.enter_context(_opened(file)) for file in self.files]
                while left > 0:
                    block = _read(sounds, min(size, left), self.channels)
                    if not block.shape[1]:
                        raise InputError(f"{name}: became shorter while it was read")
                    left -= block.shape[1]
                    yield block
        except (soundfile.LibsndfileError, RuntimeError) as error:
            raise InputError(f"{name}: cannot be read any further ({error})") from error


def open_recording(
    files: Sequence[Path],
    array: MicrophoneArray,
    channels: Sequence[int] | None,
    description: Description,
    assumed: bool = False,
) -> CheckedRecording:
    """Read all once, block by block, to see that it can be used.

    Args:
        files: one with all channels, or one a microphone, which are then the channels in this
            order.
        channels: which channel is each microphone; None takes the array's own.
        description: of the model, whose reference microphone must not be silent.
        assumed: nobody said that it was made with this array, it is that of training.
    Raises:
        InputError: names the file and what is wrong with it: it is no audio, holds no samples,
            the wrong number of channels, the same in all of them, NaN, or silence; or the files
            are not of one recording.
    """
    path = files[0]
    with ExitStack() as stack:
        sounds = [stack.enter_context(_opened(file)) for file in files]
        cut = _check_together(files, sounds) if len(files) > 1 else 0
        picks = _microphones(files, sounds[0].channels, array, channels, description)
        names = [files[pick].name for pick in picks] if len(files) > 1 else None
        rate, subtype = sounds[0].samplerate, sounds[0].subtype
        blocks = _readable_blocks(sounds, picks)
        try:
            size, told = examine(blocks, array, rate, description, picks, assumed, names)
        except (soundfile.LibsndfileError, RuntimeError) as error:
            raise InputError(f"{path}: cannot be read as audio ({error})") from error
        except InputError as error:
            raise InputError(f"{path}: {error}") from error
        unread = min(sound.frames for sound in sounds) - size
    warnings = list(_cut_off(files, unread / rate))
    if cut:
        warnings.append(
            f"the files differ in length by {cut} samples at most and are cut to the shortest; had "
            "they not begun at the same time, no direction would be right"
        )
    return CheckedRecording(tuple(files), rate, size, subtype, picks, (*warnings, *told))


@contextmanager
def _opened(file: Path) -> Iterator[soundfile.SoundFile]:
    if not os.path.isfile(file):
        is_there = "is a folder, a pipe or a device; save the audio as a file, which is read twice"
        raise InputError(f"{file}: {is_there if os.path.exists(file) else 'no such file'}")
    with ExitStack() as stack:
        try:
            # soundfile takes names that are not UTF-8 as bytes alone; Windows has none of these.
            source: Any = os.fsencode(file) if os.name == "posix" else file
            wav = _WavData.find(file)
            if wav is not None and wav.is_unannounced:
                source = stack.enter_context(_WithLength(file, wav.start))
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
    """The next samples ``[mic, sample]`` of all files, as many as all of them have."""
    if len(sounds) == 1:
        rows = sounds[0].read(size, dtype="float32", always_2d=True)
        return np.ascontiguousarray(rows[:, list(picks)].T)
    parts = [sounds[pick].read(size, dtype="float32") for pick in picks]
    shortest = min(map(len, parts))
    return np.stack([part[:shortest] for part in parts])


def _readable_blocks(
    sounds: Sequence[soundfile.SoundFile], picks: Sequence[int]
) -> Iterator[NDArray[np.float32]]:
    """All that can be read, also of a compressed file that ends in the middle."""
    size, begun = round(BLOCK_SECONDS * sounds[0].samplerate), False
    while True:
        try:
            block = _read(sounds, size, picks)
        except (soundfile.LibsndfileError, RuntimeError):
            if begun:
                return
            raise
        if not block.shape[1]:
            return
        yield block
        begun = True


def _check_together(files: Sequence[Path], sounds: Sequence[soundfile.SoundFile]) -> int:
    """See that files are the microphones of one recording; returns by how many samples they
    differ in length."""
    rate = sounds[0].samplerate
    for file, sound in zip(files, sounds, strict=True):
        if sound.channels != 1:
            raise InputError(
                f"{file}: has {sound.channels} channels; of files that are one recording together, "
                "each is one microphone"
            )
        if sound.samplerate != rate:
            raise InputError(
                f"{file}: has {sound.samplerate} Hz, but {files[0].name} {rate} Hz; "
                "files of one recording have one sample rate"
            )
    frames = [sound.frames for sound in sounds]
    shortest, longest = min(frames), max(frames)
    if longest - shortest > _LENGTHS_DIFFER * rate:
        raise InputError(
            f"{files[frames.index(shortest)]}: lasts {shortest / rate:.3f} s, but "
            f"{files[frames.index(longest)].name} {longest / rate:.3f} s; files of one "
            f"recording differ by {_LENGTHS_DIFFER} s at most"
        )
    return int(longest - shortest)


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


def _cut_off(files: Sequence[Path], unread: float) -> Iterator[str]:
    """Args: unread: seconds that the decoder expects and does not give."""
    for file in files:
        wav = _WavData.find(file)
        missing = 0.0 if wav is None else wav.missing_seconds
        if not missing and unread > _ESTIMATED_SECONDS:
            missing = unread
        if missing > 0:
            name = f"{file.name}: " if len(files) > 1 else ""
            yield (
                f"{name}the file ends in the middle: {missing:.3f} s that its header announces are "
                "not there; what is there was separated"
            )


# --- headers of WAV files against what is there; libsndfile passes over it --------------------

_LIMITS = (1 << 31, 1 << 32, 1 << 63, 1 << 64)
_NEAR_LIMIT = 1 << 17
"""Bytes. Who writes a stream, and does not know how long it will be, announces nothing or as much
as a header can, as a signed or an unsigned number, less what the header or whole frames take: SoX
0x7FFFF000, arecord 0x80000000, ffmpeg 0xFFFFFFFF, GStreamer 0x7FFF0000."""


@dataclass(frozen=True)
class _WavData:
    """Begin of the samples, bytes of them that the header announces, and bytes that are there."""

    start: int
    announced: int
    there: int
    bytes_per_second: int
    bytes_per_frame: int

    @classmethod
    def find(cls, path: Path) -> _WavData | None:
        """Read the header of a RIFF or RF64 WAV; None of other formats."""
        size = path.stat().st_size
        bytes_per_second, frame, announced = 0, 0, None
        with path.open("rb") as file:
            head = file.read(12)
            if len(head) < 12 or head[:4] not in (b"RIFF", b"RF64") or head[8:] != b"WAVE":
                return None
            while len(chunk := file.read(8)) == 8:
                name, length = chunk[:4], struct.unpack("<I", chunk[4:])[0]
                start = file.tell()
                if name == b"fmt " and len(about := file.read(14)) == 14:
                    bytes_per_second, frame = struct.unpack("<8xIH", about)
                elif name == b"ds64" and len(about := file.read(16)) == 16:
                    announced = struct.unpack("<8xQ", about)[0]
                elif name == b"data":
                    announced = length if announced is None else announced
                    return cls(start, announced, size - start, bytes_per_second, frame)
                file.seek(start + length + length % 2)
        return None

    @property
    def missing_seconds(self) -> float:
        """Seconds that are announced and not there; 0 of a whole file, and of a stream whose
        length the header does not tell."""
        missing = self.announced - self.there
        stream = any(abs(self.announced - limit) <= _NEAR_LIMIT for limit in _LIMITS)
        # Less than a frame is padding that the writer counted.
        if stream or missing < self.bytes_per_frame or not self.bytes_per_second:
            return 0.0
        return missing / self.bytes_per_second

    @property
    def is_unannounced(self) -> bool:
        """True of samples that are not announced: a stream, or a recording that nobody ended."""
        return not self.announced and self.there >= max(1, self.bytes_per_frame)


class _WithLength(io.FileIO):
    """A WAV whose header announces no samples, as if it announced as many as it can."""

    def __init__(self, path: Path, start: int) -> None:
        super().__init__(path)
        unknown = b"\xff" * 4
        self._changed = {
            **dict(enumerate(b"RIFF" + unknown)),
            **dict(enumerate(unknown, start - 4)),
        }

    def readinto(self, buffer: Any, /) -> int:
        begin = self.tell()
        count = super().readinto(buffer) or 0
        view = memoryview(buffer).cast("B")
        for place, byte in self._changed.items():
            if begin <= place < begin + count:
                view[place - begin] = byte
        return count
