# SPDX-License-Identifier: Apache-2.0
"""Recordings on disk: what files hold, whether it can be used, and their audio block by block.

A recording is a file with all microphones, or files of one microphone each.
"""

from __future__ import annotations

import mmap
import os
import re
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
from msdet.inference.microphones import needs, other_model

_ESTIMATED_SECONDS = 0.5
"""By so much a compressed file may be shorter than its number of frames lets expect."""
_LONGEST = 1e9
"""Seconds; what says that it lasts longer does not know, and cannot be read."""
_LENGTHS_DIFFER = 0.05
"""Seconds, a buffer of a recorder that was stopped: what differs more is no one recording."""
_UNREADABLE = (soundfile.LibsndfileError, RuntimeError, TypeError, OSError)


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
        left = self.num_samples
        with _opened(self.files) as sounds:
            for block in _readable(sounds, self.channels):
                yield block[:, :left]
                left -= block.shape[1]
                if left <= 0:
                    return
        raise InputError(f"{self.files[0]}: became shorter while it was read, or the disk fails")


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
    with _opened(files) as sounds:
        rate, subtype = sounds[0].samplerate, sounds[0].subtype
        frames = _checked_lengths(files, sounds)
        several = len(files) > 1
        count = len(files) if several else sounds[0].channels
        what = f"{count} {'files' if several else 'channels'}"
        picks = microphones_in(str(files[0]), count, what, array, channels, description)
        names = [files[pick].name if len(files) > 1 else f"channel {pick}" for pick in picks]
        blocks = _readable(sounds, picks)
        try:
            size, told = examine(blocks, array, rate, description, names, assumed)
        except InputError as error:
            raise InputError(f"{files[0]}: {error}") from error
        unread = (min(frames) - size) / rate
        cut_off = [_missing_seconds(sound.extra_info, rate) for sound in sounds]
    warnings = []
    for file, missing in zip(files, cut_off, strict=True):
        if missing or unread > _ESTIMATED_SECONDS:
            name = f"{file.name}: " if len(files) > 1 else ""
            warnings.append(
                f"{name}the file ends in the middle: {missing or unread:.3f} s that its header "
                "announces are not there; what is there was separated"
            )
    if cut := max(frames) - min(frames):
        warnings.append(
            f"the files differ in length by {cut} samples at most and are cut to the shortest; had "
            "they not begun at the same time, no direction would be right"
        )
    return CheckedRecording(tuple(files), rate, size, subtype, picks, (*warnings, *told))


@contextmanager
def _opened(files: Sequence[Path]) -> Iterator[list[soundfile.SoundFile]]:
    with ExitStack() as stack:
        yield [open_sound(file, stack) for file in files]


def open_sound(file: Path, stack: ExitStack) -> soundfile.SoundFile:
    """Open an audio file until the stack ends.

    Raises:
        InputError: names the file and says why it cannot be read as audio.
    """
    if not os.path.isfile(file):
        is_there = "is a folder, a pipe or a device; save the audio as a file, which is read twice"
        raise InputError(f"{file}: {is_there if os.path.exists(file) else 'no such file'}")
    try:
        # soundfile takes names that are not UTF-8 as bytes alone; Windows has none of these.
        source: Any = os.fsencode(file) if os.name == "posix" else file
        sound = stack.enter_context(soundfile.SoundFile(source))
        if not sound.frames and sound.format.startswith(("WAV", "RF64")):
            sound = stack.enter_context(soundfile.SoundFile(_with_length(file, stack)))
    except _UNREADABLE as error:
        told = getattr(error, "error_string", error)  # without the name in bytes
        raise InputError(f"{file}: cannot be read as audio ({told})") from error
    if sound.frames > _LONGEST * sound.samplerate:
        raise InputError(
            f"{file}: is a stream that does not say how long it is; write it to a file, "
            "such as by: ffmpeg -i IN.flac OUT.flac"
        )
    return sound


def _with_length(file: Path, stack: ExitStack) -> mmap.mmap:
    """A WAV whose header announces no samples, being a stream's or that of a recording which nobody
    ended, as if it announced those that are there."""
    source = stack.enter_context(file.open("rb"))
    # Of a copy, which takes memory for the page that is changed.
    content = stack.enter_context(mmap.mmap(source.fileno(), 0, access=mmap.ACCESS_COPY))
    header = re.search(rb"data(\0{4}|\xff{4})", content)
    if header is not None:
        there = min(len(content) - header.end(), 2**32 - 1).to_bytes(4, "little")
        content[header.start(1) : header.end()] = there
        content[:8] = b"RIFF" + there
    return content


def _readable(
    sounds: Sequence[soundfile.SoundFile], picks: Sequence[int]
) -> Iterator[NDArray[np.float32]]:
    """All that can be read ``[mic, sample]``, also of a compressed file that ends in the middle, as
    far as all files go."""
    size, begun = round(BLOCK_SECONDS * sounds[0].samplerate), False
    while True:
        try:
            parts = [sound.read(size, dtype="float32", always_2d=True) for sound in sounds]
        except _UNREADABLE as error:
            if begun:
                return
            raise InputError(f"cannot be read as audio ({error})") from error
        shortest = min(map(len, parts))
        if not shortest:
            return
        rows = np.concatenate([part[:shortest] for part in parts], axis=1)
        yield np.ascontiguousarray(rows[:, list(picks)].T)
        begun = True


def _checked_lengths(files: Sequence[Path], sounds: Sequence[soundfile.SoundFile]) -> list[int]:
    """See that files are of one recording; return the samples of each."""
    rate, frames = sounds[0].samplerate, [sound.frames for sound in sounds]
    for file, sound in zip(files, sounds, strict=True):
        if len(files) > 1 and sound.channels != 1:
            raise InputError(
                f"{file}: has {sound.channels} channels; of files that are one recording together, "
                "each is one microphone"
            )
        if sound.samplerate != rate:
            raise InputError(
                f"{file}: has {sound.samplerate} Hz, but {files[0].name} {rate} Hz; "
                "files of one recording have one sample rate"
            )
    shortest, longest = min(frames), max(frames)
    if longest - shortest > _LENGTHS_DIFFER * rate:
        raise InputError(
            f"{files[frames.index(shortest)]}: lasts {shortest / rate:.3f} s, but "
            f"{files[frames.index(longest)].name} {longest / rate:.3f} s; files of one "
            f"recording differ by {_LENGTHS_DIFFER} s at most"
        )
    return frames


def microphones_in(
    source: str,
    count: int,
    what: str,
    array: MicrophoneArray,
    channels: Sequence[int] | None,
    description: Description,
) -> tuple[int, ...]:
    """Return the numbers of the channels, or of the files, that are the microphones.

    Args:
        source: what begins an error's line. count: of channels or files; what: in words.
        channels: that the user says; None takes the array's own.
    Raises:
        InputError: they are not as many as the array has, or the model cannot use them.
    """
    if count == 1:
        raise InputError(
            f"{source}: is mono: directions need one channel for each of the {array.num_mics} "
            f"microphones of array {array.name!r}; where each microphone has a file of its own, "
            "name them all, in the microphones' order, and add --together"
        )
    picks = array.microphones_of(count) if channels is None else tuple(channels)
    if picks is None:
        few = not description.array.is_linear and count < 3
        more = f"; {other_model(None)}" if few else ""
        raise InputError(
            f"{source}: {what}, but the array {array.name!r} has {array.num_mics} microphones; "
            "give array= of your microphones, or channels= to say which channel is each of them; "
            f"this model needs {needs(description)}{more}"
        )
    if len(set(picks)) != array.num_mics or len(picks) != array.num_mics:
        raise InputError(
            f"channels={list(picks)}: name one different channel for each of the "
            f"{array.num_mics} microphones of array {array.name!r}"
        )
    if wrong := set(picks) - set(range(count)):
        raise InputError(
            f"{source}: {what}, counted from 0; channels={list(picks)} names {min(wrong)}"
        )
    return picks


_LIMITS = (1 << 31, 1 << 32)
_NEAR_LIMIT = 1 << 17
"""Bytes. Who writes a stream, and does not know how long it will be, announces nothing or as much
as a header can, as a signed or an unsigned number, less what the header or whole frames take: SoX
0x7FFFF000, arecord 0x80000000, ffmpeg 0xFFFFFFFF, GStreamer 0x7FFF0000."""


def _missing_seconds(told: str, sample_rate: int) -> float:
    """Seconds that the header of a WAV announces and that are not there; 0 of a whole file, and of
    a stream whose length the header does not tell.

    Args:
        told: what libsndfile notes of a file; it reads what is there.
    """
    if long := re.search(r"frame count (\d+) does not match .* 'ds64' chunk of (\d+)", told):
        return max(0, int(long[2]) - int(long[1])) / sample_rate
    if not (data := re.search(r"^data : (\d+) \(should be (\d+)\)", told, re.MULTILINE)):
        return 0.0
    announced, there = int(data[1]), int(data[2])
    stream = any(abs(announced - limit) <= _NEAR_LIMIT for limit in _LIMITS)
    per_frame, per_second = (
        int(found[1]) if (found := re.search(rf"{name} *: (\d+)", told)) else 0
        for name in ("Block Align", "Bytes/sec")
    )
    # Less than a frame is padding that the writer counted.
    if stream or not per_second or announced - there < per_frame:
        return 0.0
    return (announced - there) / per_second
