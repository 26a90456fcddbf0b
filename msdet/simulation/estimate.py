# SPDX-License-Identifier: Apache-2.0
"""The cost of a set of mixtures in time and space, measured on a few of its scenes."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from rich.filesize import decimal
from rich.table import Table

from msdet.errors import InputError
from msdet.simulation.mixture_files import target_mics
from msdet.simulation.rirs import compute_rirs
from msdet.simulation.shards import Shards, tar_path

_SAMPLE = 8
"""Scenes that are measured: enough for the range of T60s and lengths, in seconds."""
_LABELS_BYTES = 8000
"""Size of the labels of a mixture and its row, generously; next to its audio they are nothing."""


def cost(shards: Shards, numbers: Sequence[int], cores: int) -> Table:
    """Make a few scenes of these shards in a temporary place, and tell what all will take.

    Args:
        cores: that make them at the same time, one shard each.
    Raises:
        InputError: a scene cannot be drawn or rendered.
    """
    indices = _spread(shards, numbers)
    taken = []
    for index in (indices[0], *indices):  # once more, for imports and tables that are kept
        with TemporaryDirectory(prefix="msdet-") as folder:
            taken.append(_take(shards, index, Path(folder)))
    count, cores = shards.scenes_in(numbers), min(cores, len(numbers))
    *seconds, size = np.mean(taken[1:], axis=0).tolist()
    total, free = count * sum(seconds), _free_bytes(shards.output)
    noun = "1 scene" if count == 1 else f"{count} scenes"
    table = Table("", title=f"{noun} to make, measured on {len(indices)}")
    table.add_column("a scene", justify="right")
    table.add_column("all", justify="right")
    names = ("drawing", "room responses", "rendering and writing")
    for name, each in zip(names, seconds, strict=True):
        table.add_row(name, f"{each:.4f} s", _duration(count * each))
    table.add_section()
    table.add_row("time on one core", "", f"{_duration(total)} ({total / 3600:.3g} h)")
    at_hand = f"time on {cores} {'core' if cores == 1 else 'cores'} at hand"
    table.add_row(at_hand, "", _duration(total / cores), end_section=True)
    table.add_row("size of output", decimal(round(size)), decimal(round(count * size)))
    table.add_row("free where output goes", "", decimal(free))
    if count * size > free:
        table.caption = "the disk does not suffice: give num_scenes or output="
    return table


def check_space(shards: Shards, numbers: Sequence[int]) -> None:
    """Refuse at once what would fill the disk after an hour.

    Raises:
        InputError: what is needed, and what there is.
    """
    if not shards.audio or not numbers:
        return
    each = []
    for scene in shards.source.read(_spread(shards, numbers)):
        targets = len(scene.speech) * (1 + len(target_mics(scene, shards.targets_at)))
        channels = len(scene.array.positions) + targets
        each.append(4 * channels * scene.num_samples + _LABELS_BYTES)
    count, free = shards.scenes_in(numbers), _free_bytes(shards.output)
    needed = round(count * float(np.mean(each)))
    if needed > free:
        raise InputError(
            f"output={shards.output}: {count} scenes take {decimal(needed)}, the disk has "
            f"{decimal(free)} left; ask for fewer (num_scenes), or choose another output="
        )


def _spread(shards: Shards, numbers: Sequence[int]) -> list[int]:
    """Indices of a few scenes, from the first to the last of these shards."""
    count = shards.scenes_in(numbers)
    places = np.unique(np.linspace(0, count - 1, min(_SAMPLE, count)).round().astype(int))
    # All shards but the last of all are of one size.
    return [shards.indices(numbers[p // shards.size])[p % shards.size] for p in places.tolist()]


def _take(shards: Shards, index: int, folder: Path) -> tuple[float, float, float, int]:
    """Seconds of drawing, room responses, rendering; bytes of the output."""
    began = time.perf_counter()
    (scene,) = shards.source.read([index])
    drawn = time.perf_counter()
    rows = 2 * len(scene.model_dump_json())
    if not shards.audio:
        return drawn - began, 0.0, 0.0, rows
    rirs = compute_rirs(scene.room, scene.microphone_array(), scene.sample_rate)
    found = time.perf_counter()
    attempt, made = folder / "attempt", folder / "made"
    attempt.mkdir()
    if shards.format == "tar":
        shards.write_tar(tar_path(made, 0), attempt, [scene], rirs)
    else:
        shards.write_folder(made / scene.id, attempt, scene, rirs)
    rendered = time.perf_counter()
    size = sum(path.stat().st_size for path in made.rglob("*") if path.is_file())
    return drawn - began, found - drawn, rendered - found, rows + size


def _free_bytes(folder: Path) -> int:
    """Return the free bytes where a folder is, or the nearest one above it that exists."""
    folder = folder.absolute()
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    return shutil.disk_usage(existing).free


def _duration(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds < 1 else str(timedelta(seconds=round(seconds)))
