# SPDX-License-Identifier: Apache-2.0
"""What a WAV file's header announces, against what is there; libsndfile passes over it."""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_LIMITS = (1 << 31, 1 << 32, 1 << 63, 1 << 64)
_NEAR_LIMIT = 1 << 17
"""Bytes. Who writes a stream, and does not know how long it will be, announces nothing or as much
as a header can, as a signed or an unsigned number, less what the header or whole frames take: SoX
0x7FFFF000, arecord 0x80000000, ffmpeg 0xFFFFFFFF, GStreamer 0x7FFF0000."""


@dataclass(frozen=True)
class _Data:
    """Where the samples begin, how many bytes of them the header announces, and bytes there are."""

    start: int
    announced: int
    there: int
    bytes_per_second: int
    bytes_per_frame: int


def missing_seconds(path: Path) -> float:
    """Seconds of audio that the header of a RIFF or RF64 WAV announces and the file lacks; 0 of a
    whole file, of a stream whose length the header does not tell, and of other formats."""
    data = _find_data(path)
    if data is None or not data.bytes_per_second:
        return 0.0
    missing = data.announced - data.there
    stream = any(abs(data.announced - limit) <= _NEAR_LIMIT for limit in _LIMITS)
    # Less than a frame is padding that the writer counted.
    return 0.0 if stream or missing < data.bytes_per_frame else missing / data.bytes_per_second


def with_length(path: Path) -> io.FileIO | None:
    """A WAV whose header announces no samples, and that has some, as if it announced them: a
    stream, or a recording that nobody ended. None of all others."""
    data = _find_data(path)
    if data is None or data.announced or data.there < max(1, data.bytes_per_frame):
        return None
    return _WithLength(path, data.start)


class _WithLength(io.FileIO):
    def __init__(self, path: Path, start: int) -> None:
        super().__init__(path)
        unknown = b"\xff" * 4
        self._changed = {**_places(0, b"RIFF" + unknown), **_places(start - 4, unknown)}

    def readinto(self, buffer: Any, /) -> int:
        begin = self.tell()
        count = super().readinto(buffer) or 0
        if count:
            view = memoryview(buffer).cast("B")
            for place, byte in self._changed.items():
                if begin <= place < begin + count:
                    view[place - begin] = byte
        return count


def _places(start: int, content: bytes) -> dict[int, int]:
    return dict(enumerate(content, start))


def _find_data(path: Path) -> _Data | None:
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
                return _Data(start, announced, size - start, bytes_per_second, frame)
            file.seek(start + length + length % 2)
    return None
