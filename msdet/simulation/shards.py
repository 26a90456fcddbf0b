# SPDX-License-Identifier: Apache-2.0
"""A set of mixtures in shards: which scenes each one holds, making one, putting all together.

A shard is a pure function of its number. Its scenes' file is its marker: written last, and there
when the whole shard is. A shard whose files are damaged or gone since is made again. What is not
whole yet lies in ``.parts``, in a folder for each attempt, so that any number of processes may work
on one folder: where two make the same shard they make the same files, and the second changes
nothing.
"""

from __future__ import annotations

import csv
import math
import re
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from uuid import uuid4

from msdet.corpora import Corpus
from msdet.errors import InputError
from msdet.files import write_atomically
from msdet.simulation.layouts import (
    FOLDERS,
    MIXTURE_NAME,
    Format,
    path_within,
    scene_files,
    shard_name,
    speaker_file,
    tar_path,
    target_mics,
    write_folders,
    write_tar,
)
from msdet.simulation.render import Example, render
from msdet.simulation.rirs import Rirs, compute_rirs
from msdet.simulation.scene import Scene
from msdet.simulation.scene_files import SCENES_NAME, lines_of, rows_of
from msdet.simulation.scene_sources import ScenesSource
from msdet.simulation.shard_files import finish_shard, first_damaged, marker_path
from msdet.simulation.symmetry import TargetsAt

METADATA_NAME = "metadata.csv"
PARTS_NAME = ".parts"

_FEWEST_SHARDS, _LARGEST_SHARD = 16, 100
_STALE_SECONDS = 3600.0
"""What nobody wrote to for so long was left by a process that is gone."""


def default_shard_size(num_scenes: int) -> int:
    """A sixteenth of the scenes, at most 100: enough shards to share, none that takes long."""
    return min(_LARGEST_SHARD, math.ceil(num_scenes / _FEWEST_SHARDS))


def share_of(shard: str | None) -> tuple[int, int]:
    """``"i/n"`` as ``(i, n)``; all of it for None.

    Raises:
        InputError: it is not two numbers with 0 <= i < n.
    """
    if shard is None:
        return 0, 1
    found = re.fullmatch(r"(\d+)/(\d+)", shard)
    if found is None or int(found[1]) >= int(found[2]):
        raise InputError(
            f"shard={shard!r}: expected i/n with i from 0 to n - 1, such as 0/4, 1/4, 2/4, 3/4"
        )
    return int(found[1]), int(found[2])


@dataclass(frozen=True)
class Shards:
    """Makes the shards of a set, one at a call; can be sent to other processes.

    Attributes:
        output: folder of the set. size: scenes in each shard but the last.
        corpus: the speech of the scenes.
        audio: render the scenes; else their numbers alone. targets_at: which targets with them.
    """

    output: Path
    source: ScenesSource
    corpus: Corpus
    size: int
    audio: bool
    format: Format
    targets_at: TargetsAt = "reference"

    def __len__(self) -> int:
        return math.ceil(len(self.source) / self.size)

    def indices(self, shard: int) -> range:
        """The scenes of a shard."""
        return range(shard * self.size, min((shard + 1) * self.size, len(self.source)))

    def is_there(self, shard: int) -> bool:
        """Whether a shard was finished, and its files still have the sizes that they had then."""
        return first_damaged(self.output, shard) is None

    def missing(self, part: int = 0, parts: int = 1) -> list[int]:
        """The shards k with k % parts == part that are not there."""
        return [k for k in range(part, len(self), parts) if not self.is_there(k)]

    def __call__(self, shard: int) -> bool:
        """Make a shard; returns whether it was not there yet.

        Raises:
            InputError: speech cannot be read, or files cannot be written. Nothing half is left.
        """
        if self.is_there(shard):
            return False
        try:
            self._remove_leftovers(shard, _STALE_SECONDS)
            with self._attempt(shard) as attempt:
                self._write(shard, attempt)
            self._remove_leftovers(shard, 0.0)
        except OSError as error:
            if self.is_there(shard):  # another was quicker, and cleared up behind itself
                return False
            raise InputError(
                f"{error.filename or self.output}: cannot be written "
                f"({error.strerror or error}); the same command goes on from here"
            ) from error
        return True

    def example(self, scene: Scene) -> Example:
        """A rendered scene. Its room's responses are not kept: drawn scenes share no room."""
        rirs = compute_rirs(scene.room, scene.microphone_array(), scene.sample_rate)
        return self.rendered(scene, rirs)

    def rendered(self, scene: Scene, rirs: Rirs) -> Example:
        """A scene with all the targets that are kept."""
        return render(scene, self.corpus, rirs, target_mics(scene, self.targets_at))

    def _write(self, shard: int, attempt: Path) -> None:
        scenes = self.source.read(self.indices(shard))
        audio: list[Path] = []
        if self.audio and self.format == "tar":
            audio = [tar_path(self.output, shard)]
            write_tar(audio[0], attempt, scenes, self.example, self.corpus)
        elif self.audio:
            targets_at = self.targets_at
            write_folders(self.output, attempt, scenes, self.example, self.corpus, targets_at)
            folder = self.output / FOLDERS["folder"]
            audio = [folder / s.id / name for s in scenes for name in scene_files(s, targets_at)]
        finish_shard(self.output, shard, rows_of(scenes), audio, attempt)

    @contextmanager
    def _attempt(self, shard: int) -> Iterator[Path]:
        """A folder of its own, gone afterwards."""
        folder = self.output / PARTS_NAME / f"{shard_name(shard)}.{uuid4().hex[:12]}"
        try:
            folder.mkdir(parents=True)
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _remove_leftovers(self, shard: int, older_than: float) -> None:
        """What killed processes were writing of this shard; all of it once the shard is there."""
        for folder in (self.output / PARTS_NAME).glob(f"{shard_name(shard)}.*"):
            with suppress(OSError):
                changed = max(path.stat().st_mtime for path in (folder, *folder.rglob("*")))
                if time.time() - changed >= older_than:
                    shutil.rmtree(folder, ignore_errors=True)

    def put_together(self) -> bool:
        """Write the files of the whole set if all of its shards are there; returns whether.

        Every process does so after its last shard, so that the last of them all finds all there;
        that two do is harmless.
        """
        if self.missing():
            return False
        try:
            self._put_together()
        except OSError as error:
            raise InputError(
                f"{error.filename or self.output}: cannot be written ({error.strerror or error}); "
                "the same command goes on from here"
            ) from error
        return True

    def _put_together(self) -> None:
        scenes, metadata = self.output / SCENES_NAME, self.output / METADATA_NAME
        parts = self.output / PARTS_NAME
        if not scenes.exists():
            parts.mkdir(exist_ok=True)
            write_atomically(scenes, map(self._rows, range(len(self))), parts)
        if self.audio and not metadata.exists():
            parts.mkdir(exist_ok=True)
            write_atomically(metadata, self._metadata(), parts)
        self._remove_parts()

    def _rows(self, shard: int) -> str:
        return marker_path(self.output, shard).read_text(encoding="utf-8")

    def _remove_parts(self) -> None:
        """What killed processes left; all shards are there, so that nobody needs an attempt."""
        parts = self.output / PARTS_NAME
        for path in parts.glob("*"):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
                continue
            with suppress(OSError):
                if time.time() - path.stat().st_mtime >= _STALE_SECONDS:
                    path.unlink()
        with suppress(OSError):
            parts.rmdir()  # only if empty

    def _metadata(self) -> Iterator[str]:
        """The table of LibriMix, with where the speakers stand; paths relative to its folder."""
        numbers = range(1, self.source.most_speakers + 1)
        yield _csv_row(
            [
                *("mixture_ID", "mixture_path"),
                *(f"source_{number}_path" for number in numbers),
                "length",
                *(f"azimuth_{number}" for number in numbers),
                *(f"distance_{number}" for number in numbers),
            ]
        )
        for shard in range(len(self)):
            for line in lines_of(self._rows(shard)):
                if line:
                    yield _csv_row(self._columns(shard, Scene.model_validate_json(line)))

    def _columns(self, shard: int, scene: Scene) -> list[object]:
        speakers = scene.room.speakers
        blank = [""] * (self.source.most_speakers - len(speakers))
        names = (MIXTURE_NAME, *(speaker_file(i) for i in range(len(speakers))))
        return [
            scene.id,
            *(path_within(self.format, shard, scene.id, name) for name in names),
            *blank,
            scene.num_samples,
            *(round(speaker.azimuth, 4) for speaker in speakers),
            *blank,
            *(round(speaker.distance, 4) for speaker in speakers),
            *blank,
        ]


def _csv_row(columns: Sequence[object]) -> str:
    line = StringIO()
    csv.writer(line, lineterminator="\n").writerow(columns)
    return line.getvalue()


def scenes_in(shards: Shards, numbers: Sequence[int]) -> int:
    """How many scenes these shards hold."""
    return sum(len(shards.indices(shard)) for shard in numbers)
