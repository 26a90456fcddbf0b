# SPDX-License-Identifier: Apache-2.0
"""The files of a shard: which they are, and whether they are still there as they were written.

``files/shard-000000.json`` has the size of each file of a shard, by its path in the output folder.
Sizes are compared wherever a shard is to be used; what is in the files is checked when they are
read, by the checksums in their labels (`msdet.simulation.layouts.read_labels`).
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path

from msdet.files import write_atomically
from msdet.simulation.layouts import shard_name

MARKERS_NAME, SIZES_NAME = "scenes", "files"


def marker_path(output: Path, shard: int) -> Path:
    """The scenes of a shard: written last, there when all of the shard is."""
    return output / MARKERS_NAME / f"{shard_name(shard)}.jsonl"


def sizes_path(output: Path, shard: int) -> Path:
    """The sizes of a shard's files."""
    return output / SIZES_NAME / f"{shard_name(shard)}.json"


def finish_shard(
    output: Path, shard: int, rows: Iterable[str], audio: Iterable[Path], scratch: Path
) -> None:
    """Write the sizes of a shard's files, then its marker.

    Args:
        rows: of the marker. audio: files that are there. scratch: a folder on the same disk.
    """
    marker, content = marker_path(output, shard), "".join(rows).encode()
    sizes = {path.relative_to(output).as_posix(): path.stat().st_size for path in audio}
    sizes[marker.relative_to(output).as_posix()] = len(content)
    listing = json.dumps(sizes, indent=0) + "\n"
    write_atomically(sizes_path(output, shard), listing, scratch)
    write_atomically(marker, content, scratch)


def first_damaged(output: Path, shard: int) -> Path | None:
    """The first file of a shard that is missing or of another size; None if all is there."""
    path = sizes_path(output, shard)
    try:
        sizes: dict[str, int] = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return path
    marker = marker_path(output, shard)
    if not isinstance(sizes, dict) or marker.relative_to(output).as_posix() not in sizes:
        return path
    for name, size in sizes.items():
        try:
            found = os.stat(os.path.join(output, name)).st_size
        except OSError:
            found = None
        if found != size:
            return output / name
    return None
