# SPDX-License-Identifier: Apache-2.0
"""What a set of mixtures will cost in time and space, measured on a few of its scenes."""

from __future__ import annotations

import shutil
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from rich.table import Table

from msdet.corpora.corpus import AUDIO_CACHE_BYTES
from msdet.errors import InputError
from msdet.simulation.layouts import tar_path, target_mics, write_folders, write_tar
from msdet.simulation.rirs import compute_rirs
from msdet.simulation.scene import Scene
from msdet.simulation.shards import Shards, scenes_in
from msdet.simulation.symmetry import TargetsAt

_SAMPLE = 8
"""Scenes that are measured: enough for the range of T60s and lengths, in seconds."""
_LABELS_BYTES = 8000
"""Of the labels of a mixture and its row, generously; next to its audio they are nothing."""


@dataclass(frozen=True)
class Estimate:
    """Of the shards that are missing; means over a sample.

    Attributes:
        scenes: how many there are to make. sampled: on how many it was measured.
        cores: that make them at the same time, one shard each.
        draw_seconds, rirs_seconds, render_seconds: of one scene on one core.
        scene_bytes: on the disk of the output, of one scene. free_bytes: what it has left.
    """

    scenes: int
    sampled: int
    cores: int
    draw_seconds: float
    rirs_seconds: float
    render_seconds: float
    scene_bytes: float
    free_bytes: int

    @property
    def core_seconds(self) -> float:
        return self.scenes * (self.draw_seconds + self.rirs_seconds + self.render_seconds)

    @property
    def fits(self) -> bool:
        """Whether the disk suffices."""
        return self.scenes * self.scene_bytes <= self.free_bytes

    def table(self) -> Table:
        """For the screen."""
        table = Table(title=f"{_counted(self.scenes, 'scene')} to make, measured on {self.sampled}")
        table.add_column("")
        table.add_column("a scene", justify="right")
        table.add_column("all", justify="right")
        for name, each in (
            ("drawing", self.draw_seconds),
            ("room responses", self.rirs_seconds),
            ("rendering and writing", self.render_seconds),
        ):
            table.add_row(name, f"{each:.4f} s", _duration(self.scenes * each))
        table.add_section()
        hours = self.core_seconds / 3600
        table.add_row("time on one core", "", f"{_duration(self.core_seconds)} ({hours:.3g} h)")
        wall = self.core_seconds / self.cores
        table.add_row(
            f"time on {_counted(self.cores, 'core')} at hand", "", _duration(wall), end_section=True
        )
        size = self.scenes * self.scene_bytes
        table.add_row("size of output", _size(self.scene_bytes), _size(size))
        table.add_row("free where output goes", "", _size(self.free_bytes))
        return table


def measure(shards: Shards, numbers: Sequence[int], cores: int) -> Estimate:
    """Make a few scenes of these shards in a temporary place and see what they take.

    Raises:
        InputError: a scene cannot be drawn or rendered.
    """
    indices = _spread(shards, numbers)
    seconds: list[tuple[float, float, float]] = []
    sizes: list[int] = []
    torch.set_num_threads(1)  # as in workers
    with TemporaryDirectory(prefix="msdet-") as folder:
        if indices:
            _time(shards, indices[0], Path(folder) / "first")  # imports, and tables that are kept
        if _stays_in_memory(shards):
            shards.source.read(indices)  # which decodes the speech
        for index in indices:
            times, size = _time(shards, index, Path(folder) / str(index))
            seconds.append(times)
            sizes.append(size)
    draw, rirs, rendering = (statistics.mean(t) for t in zip(*seconds, strict=True))
    return Estimate(
        scenes=scenes_in(shards, numbers),
        sampled=len(indices),
        cores=min(cores, len(numbers)),
        draw_seconds=draw,
        rirs_seconds=rirs,
        render_seconds=rendering,
        scene_bytes=statistics.mean(sizes),
        free_bytes=shutil.disk_usage(_existing(shards.output)).free,
    )


def check_space(shards: Shards, numbers: Sequence[int]) -> None:
    """Refuse at once what would fill the disk after an hour.

    Raises:
        InputError: what is needed, and what there is.
    """
    if not shards.audio or not numbers:
        return
    sample = shards.source.read(_spread(shards, numbers))
    count = scenes_in(shards, numbers)
    needed = count * statistics.mean(_audio_bytes(scene, shards.targets_at) for scene in sample)
    free = shutil.disk_usage(_existing(shards.output)).free
    if needed > free:
        raise InputError(
            f"output={shards.output}: {count} scenes take {_size(needed)}, the disk has "
            f"{_size(free)} left; ask for fewer (num_scenes), or choose another output="
        )


def _spread(shards: Shards, numbers: Sequence[int]) -> list[int]:
    """Indices of a few scenes, from the first to the last of these shards."""
    count = scenes_in(shards, numbers)
    chosen = []
    for position in np.unique(np.linspace(0, count - 1, min(_SAMPLE, count)).round().astype(int)):
        # All shards but the last of all are of one size.
        shard, place = divmod(int(position), shards.size)
        chosen.append(shards.indices(numbers[shard])[place])
    return chosen


def _time(shards: Shards, index: int, folder: Path) -> tuple[tuple[float, float, float], int]:
    """Seconds of drawing, room responses, rendering; bytes of the output."""
    began = time.perf_counter()
    (scene,) = shards.source.read([index])
    drawn = time.perf_counter()
    if not shards.audio:
        return (drawn - began, 0.0, 0.0), 2 * len(scene.model_dump_json())
    rirs = compute_rirs(scene.room, scene.microphone_array(), scene.sample_rate)
    found = time.perf_counter()
    attempt = folder / "attempt"
    attempt.mkdir(parents=True)
    corpus = shards.corpus
    if shards.format == "tar":
        path = tar_path(folder, 0)
        write_tar(path, attempt, [scene], lambda s: shards.rendered(s, rirs), corpus)
    else:
        write_folders(
            folder, attempt, [scene], lambda s: shards.rendered(s, rirs), corpus, shards.targets_at
        )
    rendered = time.perf_counter()
    size = 2 * len(scene.model_dump_json()) + _bytes_in(folder)
    return (drawn - began, found - drawn, rendered - found), size


def _stays_in_memory(shards: Shards) -> bool:
    """Whether each process decodes an utterance once, and not again for every scene."""
    corpus = shards.corpus
    return 4 * sum(corpus.num_samples(u) for u in corpus.utterances) <= AUDIO_CACHE_BYTES


def _audio_bytes(scene: Scene, targets_at: TargetsAt) -> int:
    targets = len(scene.speech) * (1 + len(target_mics(scene, targets_at)))
    channels = len(scene.array.positions) + targets
    return 4 * channels * scene.num_samples + _LABELS_BYTES


def _bytes_in(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that exists."""
    folder = folder.absolute()
    return next(path for path in (folder, *folder.parents) if path.exists())


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _duration(seconds: float) -> str:
    if seconds < 1:
        return f"{seconds:.2f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = ((days, "d"), (hours, "h"), (minutes, "min"), (rest, "s"))
    first = next((i for i, (value, _) in enumerate(parts) if value), 3)
    return " ".join(f"{value} {unit}" for value, unit in parts[first : first + 2])


def _size(bytes: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if bytes < 1000:
            return f"{bytes:.3g} {unit}"
        bytes /= 1000
    return f"{bytes:,.4g} TB"
