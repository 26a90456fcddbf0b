# SPDX-License-Identifier: Apache-2.0
"""The cost of a set of mixtures in time and space, told from a few of its scenes."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from rich.filesize import decimal
from rich.table import Table

from msdet.errors import InputError
from msdet.simulation.mixture_files import target_mics
from msdet.simulation.scene import Scene
from msdet.simulation.shards import Shards

_SAMPLE = 8
"""Scenes that are looked at: enough for the range of T60s and lengths, in seconds."""
_LABELS_BYTES = 8000
"""Size of the labels of a mixture and its row, generously; next to its audio they are nothing."""


def cost(shards: Shards, numbers: Sequence[int], cores: int) -> Table:
    """Make a few scenes of these shards in a temporary place, and tell what all will take.

    Args:
        cores: that make them at the same time, one shard each.
    Raises:
        InputError: a scene cannot be drawn or rendered.
    """
    indices, seconds = _spread(shards, numbers), []
    for index in (indices[0], *indices):  # once more, for imports and tables that are kept
        with TemporaryDirectory(prefix="msdet-") as folder:
            began = time.perf_counter()
            replace(shards, output=Path(folder), size=1)(index)
            seconds.append(time.perf_counter() - began)
    count, cores = shards.scenes_in(numbers), min(cores, len(numbers))
    total = count * float(np.mean(seconds[1:]))
    needed, free = _needed_bytes(shards, numbers), _free_bytes(shards.output)
    table = Table("", "all", title=f"scenes to make: {count}, measured on {len(indices)}")
    table.add_row("time on one core", f"{_duration(total)} ({total / 3600:.3g} h)")
    table.add_row(
        f"time on the cores at hand ({cores})", _duration(total / cores), end_section=True
    )
    table.add_row("size of output", decimal(needed))
    table.add_row("free where output goes", decimal(free))
    if needed > free:
        table.caption = "the disk does not suffice: give num_scenes or output="
    return table


def check_space(shards: Shards, numbers: Sequence[int]) -> None:
    """Refuse at once what would fill the disk after an hour.

    Raises:
        InputError: what is needed, and what there is.
    """
    if not shards.audio or not numbers:
        return
    needed, free = _needed_bytes(shards, numbers), _free_bytes(shards.output)
    if needed > free:
        raise InputError(
            f"output={shards.output}: {shards.scenes_in(numbers)} scenes take {decimal(needed)}, "
            f"the disk has {decimal(free)} left; ask for fewer (num_scenes), or choose another "
            "output="
        )


def _needed_bytes(shards: Shards, numbers: Sequence[int]) -> int:
    def of(scene: Scene) -> int:
        if not shards.audio:
            return 2 * len(scene.model_dump_json())
        targets = len(scene.heard) * (1 + len(target_mics(scene, shards.targets_at)))
        return 4 * (len(scene.array.positions) + targets) * scene.num_samples + _LABELS_BYTES

    sizes = [of(scene) for scene in shards.source.read(_spread(shards, numbers))]
    return round(shards.scenes_in(numbers) * float(np.mean(sizes)))


def _spread(shards: Shards, numbers: Sequence[int]) -> list[int]:
    """Indices of a few scenes, from the first to the last of these shards."""
    count = shards.scenes_in(numbers)
    places = np.unique(np.linspace(0, count - 1, min(_SAMPLE, count)).round().astype(int))
    # All shards but the last of all are of one size.
    return [shards.indices(numbers[p // shards.size])[p % shards.size] for p in places.tolist()]


def _free_bytes(folder: Path) -> int:
    """Return the free bytes where a folder is, or the nearest one above it that exists."""
    folder = folder.absolute()
    return shutil.disk_usage(next(p for p in (folder, *folder.parents) if p.exists())).free


def _duration(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds < 1 else str(timedelta(seconds=round(seconds)))
