# SPDX-License-Identifier: Apache-2.0
"""A set of mixtures on disk, made in shards: what was asked for, and making one shard or all.

A shard is a pure function of its number. Its scenes' file is its marker: written last, and there
when the whole shard is. A shard whose files are damaged or gone since is made again. What is not
whole yet lies in a hidden folder for each attempt, so that any number of processes may work on one
set: where two make the same shard they make the same files, and the second changes nothing.
"""

from __future__ import annotations

import csv
import json
import math
import os
import shutil
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any

from msdet.corpora import Corpus
from msdet.errors import InputError
from msdet.files import PART, replacing, scratch_folder, write_atomically
from msdet.simulation.config import Record
from msdet.simulation.folder_record import refuse_another, write_record
from msdet.simulation.mixture_files import (
    FOLDERS,
    MIXTURE_NAME,
    Format,
    TargetsAt,
    files,
    member_name,
    speaker_file,
    target_mics,
)
from msdet.simulation.render import Example, render
from msdet.simulation.rirs import METHOD, compute_rirs
from msdet.simulation.scene import Scene
from msdet.simulation.scene_files import SCENES_NAME, SceneSet, rows_of

REQUEST_NAME = "simulation.json"
METADATA_NAME = "metadata.csv"

_FEWEST_SHARDS, _LARGEST_SHARD = 16, 100
_VERSIONS = ("numpy", "scipy", "pyroomacoustics")


class Request(Record):
    """All that shapes the files of a set: ``simulation.json``, written before all else.

    Attributes:
        config: of the scenes. versions: of what computes them.
        shard_size: scenes in each of the `num_shards` shards but the last.
        targets_at: which targets are kept.
    """

    config: dict[str, Any]
    audio: bool
    format: Format
    shard_size: int
    num_shards: int
    versions: dict[str, str]
    targets_at: TargetsAt


def default_shard_size(num_scenes: int) -> int:
    """A sixteenth of the scenes, at most 100: enough shards to share, none that takes long."""
    return min(_LARGEST_SHARD, math.ceil(num_scenes / _FEWEST_SHARDS))


# --- the files of a shard -----------------------------------------------------------------


def marker_path(output: Path, shard: int) -> Path:
    """The scenes of a shard: written last, there when all of the shard is."""
    return output / "scenes" / f"shard-{shard:06d}.jsonl"


def sizes_path(output: Path, shard: int) -> Path:
    """The size of each of a shard's files, by its path in the output folder.

    Sizes are compared wherever a shard is to be used; what is in the files is checked when they are
    read, by the checksums in their labels.
    """
    return output / "files" / f"shard-{shard:06d}.json"


def tar_path(output: Path, shard: int) -> Path:
    """A shard's archive."""
    return output / FOLDERS["tar"] / f"shard-{shard:06d}.tar"


def path_within(format: Format, shard: int, id: str, name: str) -> str:
    """Return a mixture's file, relative to the output folder; archives read as folders."""
    if format == "tar":
        return (tar_path(Path(), shard) / member_name(id, name)).as_posix()
    return f"{FOLDERS['folder']}/{id}/{name}"


def first_damaged(output: Path, shard: int) -> Path | None:
    """The first file of a shard that is missing or of another size; None if all is there."""
    path, marker = sizes_path(output, shard), marker_path(output, shard)
    try:
        sizes: dict[str, int] = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return path
    if not isinstance(sizes, dict) or marker.relative_to(output).as_posix() not in sizes:
        return path
    for name, size in sizes.items():
        try:
            if os.stat(os.path.join(output, name)).st_size != size:
                return output / name
        except OSError:
            return output / name
    return None


# --- making them --------------------------------------------------------------------------


@dataclass(frozen=True)
class Shards:
    """Makes the shards of a set, one at a call; can be sent to other processes.

    Attributes:
        output: folder of the set. size: scenes in each shard but the last.
        corpus: the speech of the scenes.
        audio: render the scenes; else their numbers alone. targets_at: which targets with them.
    """

    output: Path
    source: SceneSet
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

    def scenes_in(self, numbers: Sequence[int]) -> int:
        """Return how many scenes these shards hold."""
        return sum(len(self.indices(shard)) for shard in numbers)

    def missing(self, numbers: Iterable[int] | None = None) -> list[int]:
        """Return these shards, or all, that have a file that is gone or of another size."""
        numbers = range(len(self)) if numbers is None else numbers
        return [shard for shard in numbers if first_damaged(self.output, shard) is not None]

    def check_folder(self) -> bool:
        """Return whether the folder's request is there, and see that it is for this set.

        Raises:
            InputError: the folder holds something else, and what the first difference is.
        """
        path = self.output / REQUEST_NAME
        return (
            refuse_another(path, self._request(), "set of scenes", Request.model_dump) is not None
        )

    def keep_request(self) -> None:
        """Write what is asked for, here and now, unless it is there; raises as `check_folder`."""
        if not self.check_folder():
            write_record(self.output / REQUEST_NAME, self._request())
            self.check_folder()  # another process may have written it meanwhile

    def _request(self) -> Request:
        return Request(
            config=json.loads(json.dumps(self.source.request(), allow_nan=False)),
            audio=self.audio,
            format=self.format,
            shard_size=self.size,
            num_shards=len(self),
            targets_at=self.targets_at,
            versions={
                "msdet": version("msdet"),
                "room responses": METHOD,
                **{name: version(name) for name in _VERSIONS},
            },
        )

    def __call__(self, shard: int) -> None:
        """Make a shard that is not there.

        Raises:
            InputError: speech cannot be read, or files cannot be written. Nothing half is left.
        """
        if not self.missing([shard]):
            return
        try:
            with scratch_folder(self.output / f"shard-{shard:06d}") as scratch:
                self._make(shard, scratch)
        except OSError as error:
            if self.missing([shard]):  # else another was quicker
                raise self._unwritable(error) from error

    def _make(self, shard: int, scratch: Path) -> None:
        scenes = self.source.read(self.indices(shard))
        made: list[Path] = []
        if self.audio and self.format == "tar":
            made = [tar_path(self.output, shard)]
            self.write_tar(made[0], scratch, scenes)
        elif self.audio:
            made = self.write_folders(self.output / FOLDERS["folder"], scratch, scenes)
        marker, content = marker_path(self.output, shard), "".join(rows_of(scenes)).encode()
        sizes = {path.relative_to(self.output).as_posix(): path.stat().st_size for path in made}
        sizes[marker.relative_to(self.output).as_posix()] = len(content)
        listing = json.dumps(sizes, indent=0) + "\n"
        write_atomically(sizes_path(self.output, shard), listing, scratch)
        write_atomically(marker, content, scratch)

    def render(self, scene: Scene) -> Example:
        """Render a scene with all the targets that are kept.

        Its room's responses are not kept: drawn scenes share no room.
        """
        rirs = compute_rirs(scene.room, scene.microphone_array(), scene.sample_rate)
        return render(scene, self.corpus, rirs, target_mics(scene, self.targets_at))

    def write_tar(self, path: Path, scratch: Path, scenes: Iterable[Scene]) -> None:
        """Write an archive of scenes, in their order.

        Args:
            scratch: folder for what is not whole yet, on the same disk.
        """
        with (
            replacing(path, scratch) as file,
            tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as archive,
        ):
            for scene in scenes:
                for name, content in files(self.render(scene), self.corpus).items():
                    member = tarfile.TarInfo(member_name(scene.id, name))  # time and owner: 0
                    member.size = len(content)
                    archive.addfile(member, BytesIO(content))

    def write_folders(self, root: Path, scratch: Path, scenes: Sequence[Scene]) -> list[Path]:
        """Write a folder for each scene, in place of those that are there.

        Args:
            scratch: as of `write_tar`.
        Returns:
            The files in all of them.
        """
        made = []
        for scene in scenes:
            (scratch / scene.id).mkdir()
            for name, content in files(self.render(scene), self.corpus).items():
                (scratch / scene.id / name).write_bytes(content)
                made.append(root / scene.id / name)
        root.mkdir(exist_ok=True)
        for scene in scenes:
            shutil.rmtree(root / scene.id, ignore_errors=True)  # most often there is none
            (scratch / scene.id).rename(root / scene.id)
        return made

    def _unwritable(self, error: OSError) -> InputError:
        return InputError(
            f"{error.filename or self.output}: cannot be written ({error.strerror or error}); "
            "the same command goes on from here"
        )

    # --- the whole set ------------------------------------------------------------------------

    def put_together(self) -> bool:
        """Write the files of the whole set if all of its shards are there; returns whether.

        Every process does so after its last shard, so that the last of them all finds all there;
        that two do is harmless.
        """
        if self.missing():
            return False
        try:
            if not (path := self.output / SCENES_NAME).exists():
                write_atomically(path, map(self._rows, range(len(self))))
            if self.audio and not (path := self.output / METADATA_NAME).exists():
                write_atomically(path, self._metadata())
        except OSError as error:
            raise self._unwritable(error) from error
        for left in self.output.glob(f".shard-*{PART}"):  # all shards are there: nobody needs it
            shutil.rmtree(left, ignore_errors=True)
        return True

    def _rows(self, shard: int) -> str:
        return marker_path(self.output, shard).read_text(encoding="utf-8")

    def _metadata(self) -> Iterator[str]:
        """The table of LibriMix, with where the speakers stand; paths relative to its folder."""
        numbers = range(1, self.source.most_speakers + 1)
        columns = [
            *("mixture_ID", "mixture_path"),
            *(f"source_{number}_path" for number in numbers),
            "length",
            *(f"azimuth_{number}" for number in numbers),
            *(f"distance_{number}" for number in numbers),
        ]
        lines = StringIO()
        table = csv.DictWriter(lines, columns, lineterminator="\n")
        table.writeheader()
        for shard in range(len(self)):
            for line in filter(None, self._rows(shard).split("\n")):
                scene = Scene.model_validate_json(line)
                row: dict[str, object] = {
                    "mixture_ID": scene.id,
                    "mixture_path": path_within(self.format, shard, scene.id, MIXTURE_NAME),
                    "length": scene.num_samples,
                }
                for i, number in enumerate(scene.heard):
                    speaker = scene.room.speakers[number]
                    path = path_within(self.format, shard, scene.id, speaker_file(i))
                    row[f"source_{i + 1}_path"] = path
                    row[f"azimuth_{i + 1}"] = round(speaker.azimuth, 4)
                    row[f"distance_{i + 1}"] = round(speaker.distance, 4)
                table.writerow(row)
            yield lines.getvalue()
            lines.seek(0)
            lines.truncate()
