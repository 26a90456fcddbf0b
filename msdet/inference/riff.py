# SPDX-License-Identifier: Apache-2.0
"""What a WAV file's header announces, against what is there; libsndfile passes over it."""

from __future__ import annotations

import struct
from pathlib import Path

_UNKNOWN = {0, 0x7FFFFFFF, 0xFFFFFFFF}
"""Sizes that programs write which do not know how long a stream will be."""


def missing_seconds(path: Path) -> float:
    """Seconds of audio that the header of a RIFF or RF64 WAV announces and the file lacks; 0 of a
    whole file, and of other formats."""
    size = path.stat().st_size
    bytes_per_second, announced = 0, None
    with path.open("rb") as file:
        head = file.read(12)
        if len(head) < 12 or head[:4] not in (b"RIFF", b"RF64") or head[8:] != b"WAVE":
            return 0.0
        while len(chunk := file.read(8)) == 8:
            name, length = chunk[:4], struct.unpack("<I", chunk[4:])[0]
            start = file.tell()
            if name == b"fmt ":
                bytes_per_second = struct.unpack("<I", file.read(12)[8:])[0]
            elif name == b"ds64":
                announced = struct.unpack("<Q", file.read(16)[8:])[0]
            elif name == b"data":
                if announced is None:
                    announced = 0 if length in _UNKNOWN else length
                missing = max(0, start + announced - size)
                return missing / bytes_per_second if bytes_per_second else 0.0
            file.seek(start + length + length % 2)
    return 0.0
