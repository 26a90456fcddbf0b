# SPDX-License-Identifier: Apache-2.0
"""Where streams come from: a sound card, standard input, or a file at its own pace.

A thread of its own reads, so that what comes while the network computes is not lost; when more has
piled up than a buffer holds, the newest is dropped and counted.
"""

from __future__ import annotations

import queue
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from msdet.errors import InputError
from msdet.inference.recording_audio import open_sound

PIECE_SECONDS = 0.032
"""Of a stream, read at once."""
_BUFFER_SECONDS = 5.0
_PATIENCE = 3.0
"""Seconds after which a sound card that gives nothing is gone."""
_FORMATS: dict[str, tuple[Any, float]] = {"s16": ("<i2", 32768.0), "f32": ("<f4", 1.0)}

Audio = NDArray[np.float32]


@dataclass(frozen=True)
class Piece:
    """The next of a stream.

    Attributes:
        audio: ``[channel, sample]``. lost: seconds before it that nobody had time for.
    """

    audio: Audio
    lost: float = 0.0


@dataclass(frozen=True)
class Source:
    """A stream that can be read once.

    Attributes:
        sample_rate: hertz. num_channels: of the pieces.
        pieces: ends with the stream; raises :class:`InputError` where it breaks off.
    """

    sample_rate: int
    num_channels: int
    pieces: Iterator[Piece]


def open_file(path: Path, stack: ExitStack, pace: bool) -> Source:
    """Open an audio file; with a pace, its pieces come as they were recorded.

    Raises:
        InputError: it cannot be read as audio.
    """
    sound = open_sound(path, stack)
    rate = sound.samplerate
    size = max(1, round(PIECE_SECONDS * rate))

    def read() -> Iterator[Audio]:
        began, given = time.monotonic(), 0
        while len(block := sound.read(size, dtype="float32", always_2d=True)):
            given += len(block)
            if pace:
                time.sleep(max(0.0, began + given / rate - time.monotonic()))
            yield np.ascontiguousarray(block.T)

    pieces = _buffered(read, rate) if pace else (Piece(audio) for audio in read())
    return Source(rate, sound.channels, pieces)


def open_pipe(stream: BinaryIO, sample_rate: int, num_channels: int, kind: str) -> Source:
    """Read interleaved samples from a pipe, as soon as there are any.

    Args:
        kind: of samples, ``s16`` or ``f32``.
    """
    dtype, full_scale = _FORMATS[kind]
    frame = np.dtype(dtype).itemsize * num_channels
    size = frame * max(1, round(PIECE_SECONDS * sample_rate))

    def read() -> Iterator[Audio]:
        while len(data := stream.read(size)) >= frame:
            whole = np.frombuffer(data[: len(data) // frame * frame], dtype)
            yield np.ascontiguousarray(whole.reshape(-1, num_channels).T / np.float32(full_scale))

    return Source(sample_rate, num_channels, (Piece(audio) for audio in read()))


def open_sound_card(
    name: str | None, sample_rate: int, num_channels: int, stack: ExitStack
) -> Source:
    """Open a sound card; None is the one that the system takes.

    Raises:
        InputError: there is none of this name, it is busy, or has no such rate or channels.
    """
    sounddevice = _sounddevice()
    waiting: queue.Queue[Audio] = queue.Queue(round(_BUFFER_SECONDS / PIECE_SECONDS))
    size = max(1, round(PIECE_SECONDS * sample_rate))
    lost = [0]

    def keep(block: NDArray[Any], frames: int, when: object, status: Any) -> None:
        lost[0] += frames * bool(status.input_overflow)
        try:
            waiting.put_nowait(np.ascontiguousarray(block.T))
        except queue.Full:
            lost[0] += frames

    told = "device" if name is None else f"device:{name}"
    try:
        stack.enter_context(
            sounddevice.InputStream(sample_rate, size, name, num_channels, "float32", callback=keep)
        )
    except (sounddevice.PortAudioError, ValueError) as error:
        raise InputError(
            f"source={told}: cannot be opened ({str(error).splitlines()[0]})"
        ) from error

    def read() -> Iterator[Piece]:
        while True:
            try:
                audio = waiting.get(timeout=_PATIENCE)
            except queue.Empty:
                raise InputError(
                    f"source={told}: gave nothing for {_PATIENCE:g} s; is it still there?"
                ) from None
            missing, lost[0] = lost[0], 0
            yield Piece(audio, missing / sample_rate)

    return Source(sample_rate, num_channels, read())


def _sounddevice() -> Any:
    try:
        import sounddevice
    except (ImportError, OSError) as error:  # the package, or the PortAudio that it is about
        raise InputError(
            "source=device: needs sounddevice and PortAudio; pip install '.[listen]', and on "
            f"Debian apt install libportaudio2 ({error})"
        ) from error
    return sounddevice


def standard_input() -> BinaryIO:
    """Return standard input.

    Raises:
        InputError: a person sits there.
    """
    if sys.stdin.isatty():
        raise InputError(
            "source=-: standard input is a terminal; pipe samples to it, such as from "
            "arecord -t raw"
        )
    return sys.stdin.buffer


def _buffered(read: Callable[[], Iterator[Audio]], sample_rate: int) -> Iterator[Piece]:
    """Read in a thread; drop what comes when the buffer is full."""
    waiting: queue.Queue[Piece | BaseException | None] = queue.Queue(
        round(_BUFFER_SECONDS / PIECE_SECONDS)
    )

    def work() -> None:
        lost, end = 0.0, None
        try:
            for audio in read():
                try:
                    waiting.put_nowait(Piece(audio, lost))
                    lost = 0.0
                except queue.Full:
                    lost += audio.shape[1] / sample_rate
        except Exception as error:  # told to who reads, in the other thread
            end = error
        waiting.put(end)

    threading.Thread(target=work, daemon=True).start()
    while (item := waiting.get()) is not None:
        if isinstance(item, BaseException):
            raise item
        yield item
