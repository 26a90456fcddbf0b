# SPDX-License-Identifier: Apache-2.0
"""What a WAV file's header announces, against what is there; libsndfile passes over it."""

from __future__ import annotations

import struct
from pathlib import Path

_LIMITS = (1 << 31, 1 << 32, 1 << 63, 1 << 64)
_NEAR_LIMIT = 1 << 17
"""Bytes. Who writes a stream, and does not know how long it will be, announces nothing or as much
as a header can, as a signed or an unsigned number, less what the header or whole frames take: SoX
0x7FFFF000, arecord 0x80000000, ffmpeg 0xFFFFFFFF, GStreamer 0x7FFF0000."""


def missing_seconds(path: Path) -> float:
    """Seconds of audio that the header of a RIFF or RF64 WAV announces and the file lacks; 0 of a
    whole file, of a stream whose length the header does not tell, and of other formats."""
    size = path.stat().st_size
    bytes_per_second, frame, announced = 0, 1, None
    with path.open("rb") as file:
        head = file.read(12)
        if len(head) < 12 or head[:4] not in (b"RIFF", b"RF64") or head[8:] != b"WAVE":
            return 0.0
        while len(chunk := file.read(8)) == 8:
            name, length = chunk[:4], struct.unpack("<I", chunk[4:])[0]
            start = file.tell()
            if name == b"fmt " and len(about := file.read(14)) == 14:
                bytes_per_second, frame = struct.unpack("<8xIH", about)
            elif name == b"ds64" and len(about := file.read(16)) == 16:
                announced = struct.unpack("<8xQ", about)[0]
            elif name == b"data":
                announced = length if announced is None else announced
                if any(abs(announced - limit) <= _NEAR_LIMIT for limit in _LIMITS):
                    return 0.0
                missing = start + announced - size
                # Less than a frame is padding that the writer counted.
                return missing / bytes_per_second if bytes_per_second and missing >= frame else 0.0
            file.seek(start + length + length % 2)
    return 0.0
