# SPDX-License-Identifier: Apache-2.0
"""A set of mixtures on disk, made in shards: what was asked for, and making one shard or all.

A shard is a pure function of its number. Its scenes' file is its marker: written last, and there
when the whole shard is. A shard whose files are damaged or gone since is made again. What is not
whole yet lies in ``.parts``, in a folder for each attempt, so that any number of processes may work
on one folder: where two make the same shard they make the same files, and the second changes
nothing.
"""

from __future__ import annotations

import csv
import json
import math
import os
import shutil
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import version
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from msdet.corpora import Corpus
from msdet.errors import InputError, first_mistake
from msdet.files import ProcessPaths, replacing, write_atomically
from msdet.output_folder import contents
from msdet.parsing import first_difference
from msdet.simulation.config import Record
from msdet.simulation.mixture_files import (
    FOLDERS,
    LABELS_NAME,
    MIXTURE_NAME,
    Format,
    TargetsAt,
    check_files,
    file_names,
    files,
    member_name,
    parse_labels,
    speaker_file,
    target_mics,
)
from msdet.simulation.render import Example, render
from msdet.simulation.rirs import METHOD, Rirs, compute_rirs
from msdet.simulation.scene import Scene
from msdet.simulation.scene_files import SCENES_NAME, SceneSet, rows_of

REQUEST_NAME = "simulation.json"
METADATA_NAME = "metadata.csv"
MARKERS_NAME, SIZES_NAME, PARTS_NAME = "scenes", "files", ".parts"

_ATTEMPT = "shard."
_FEWEST_SHARDS, _LARGEST_SHARD = 16, 100
_ANOTHER = "choose another output="


def default_shard_size(num_scenes: int) -> int:
    """A sixteenth of the scenes, at most 100: enough shards to share, none that takes long."""
    return min(_LARGEST_SHARD, math.ceil(num_scenes / _FEWEST_SHARDS))


# --- what a folder is to hold -------------------------------------------------------------


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


def check_folder(folder: Path) -> None:
    """Refuse what is not a folder of mixtures; an empty or missing one will become one.

    Raises:
        InputError: names the folder and what is in the way.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"output={folder}: is a file; name a folder")
    try:
        if (folder / REQUEST_NAME).exists():
            return
        in_the_way = [path.name for path in contents(folder) if path.name != PARTS_NAME]
    except OSError as error:
        raise InputError(f"output={folder}: cannot be read ({error.strerror})") from error
    if in_the_way:
        raise InputError(
            f"output={folder}: is not empty and holds no {REQUEST_NAME} (but "
            f"{min(in_the_way)!r}, for one); {_ANOTHER}"
        )


def read_request(folder: Path) -> Request:
    """Read the request of a folder.

    Raises:
        InputError: there is none, or it cannot be read.
    """
    path = folder / REQUEST_NAME
    try:
        return Request.model_validate_json(path.read_text(encoding="utf-8-sig"))
    except ValidationError as error:
        raise InputError(f"{path}: {first_mistake(error)}") from error
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{path}: cannot be read ({reason})") from error


# --- the files of a shard -----------------------------------------------------------------


def _named(output: Path, kind: str, shard: int, suffix: str) -> Path:
    return output / kind / f"shard-{shard:06d}{suffix}"


def marker_path(output: Path, shard: int) -> Path:
    """The scenes of a shard: written last, there when all of the shard is."""
    return _named(output, MARKERS_NAME, shard, ".jsonl")


def sizes_path(output: Path, shard: int) -> Path:
    """The size of each of a shard's files, by its path in the output folder.

    Sizes are compared wherever a shard is to be used; what is in the files is checked when they are
    read, by the checksums in their labels.
    """
    return _named(output, SIZES_NAME, shard, ".json")


def tar_path(output: Path, shard: int) -> Path:
    """A shard's archive."""
    return _named(output, FOLDERS["tar"], shard, ".tar")


def path_within(format: Format, shard: int, id: str, name: str) -> str:
    """Return a mixture's file, relative to the output folder; archives read as folders."""
    if format == "tar":
        return (tar_path(Path(), shard) / member_name(id, name)).as_posix()
    return f"{FOLDERS['folder']}/{id}/{name}"


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

    def is_there(self, shard: int) -> bool:
        """Return whether a shard was finished, and its files have the sizes that they had then."""
        return first_damaged(self.output, shard) is None

    def missing(self, part: int = 0, parts: int = 1) -> list[int]:
        """The shards k with k % parts == part that are not there."""
        return [k for k in range(part, len(self), parts) if not self.is_there(k)]

    def keep_request(self) -> None:
        """Write what is asked for, here and now, or see that what is there was the same.

        Raises:
            InputError: it was another request, and what the first difference is; or it cannot be
                written.
        """
        packages = ("numpy", "scipy", "pyroomacoustics")
        wanted = Request(
            config=json.loads(json.dumps(self.source.request(), allow_nan=False)),
            audio=self.audio,
            format=self.format,
            shard_size=self.size,
            num_shards=len(self),
            targets_at=self.targets_at,
            versions={
                "msdet": version("msdet"),
                "room responses": METHOD,
                **{name: version(name) for name in packages},
            },
        )
        path = self.output / REQUEST_NAME
        if not path.exists():
            try:
                self._write_file(path, wanted.model_dump_json(indent=2) + "\n")
            except OSError as error:
                raise InputError(
                    f"output={self.output}: cannot be written ({error.strerror})"
                ) from error
        found = read_request(self.output)  # another process may have written it meanwhile
        difference = first_difference(found.model_dump(), wanted.model_dump())
        if difference := difference.removeprefix("config."):
            mend = "give the settings that it was made with"
            if found.audio != self.audio:
                mend = f"for its audio give scenes={self.output / SCENES_NAME} and another output"
            raise InputError(
                f"output={self.output}: holds another set of scenes ({difference}); {mend}, or "
                f"{_ANOTHER}"
            )

    def __call__(self, shard: int) -> bool:
        """Make a shard; returns whether it was not there yet.

        Raises:
            InputError: speech cannot be read, or files cannot be written. Nothing half is left.
        """
        if self.is_there(shard):
            return False
        try:
            with self._attempt() as attempt:
                self._make(shard, attempt)
        except OSError as error:
            if self.is_there(shard):  # another was quicker
                return False
            raise self._unwritable(error) from error
        return True

    def render(self, scene: Scene, rirs: Rirs | None = None) -> Example:
        """Render a scene with all the targets that are kept.

        Its room's responses are not kept: drawn scenes share no room.
        """
        if rirs is None:
            rirs = compute_rirs(scene.room, scene.microphone_array(), scene.sample_rate)
        return render(scene, self.corpus, rirs, target_mics(scene, self.targets_at))

    def scene_files(self, scene: Scene) -> list[str]:
        """The files that a scene gets."""
        return file_names(len(scene.speech), target_mics(scene, self.targets_at))

    def _make(self, shard: int, attempt: Path) -> None:
        scenes = self.source.read(self.indices(shard))
        audio: list[Path] = []
        if self.audio and self.format == "tar":
            audio = [tar_path(self.output, shard)]
            self.write_tar(audio[0], attempt, scenes)
        elif self.audio:
            for scene in scenes:
                folder = self.output / FOLDERS["folder"] / scene.id
                self.write_folder(folder, attempt, scene)
                audio += [folder / name for name in self.scene_files(scene)]
        marker, content = marker_path(self.output, shard), "".join(rows_of(scenes)).encode()
        sizes = {path.relative_to(self.output).as_posix(): path.stat().st_size for path in audio}
        sizes[marker.relative_to(self.output).as_posix()] = len(content)
        listing = json.dumps(sizes, indent=0) + "\n"
        write_atomically(sizes_path(self.output, shard), listing, attempt)
        write_atomically(marker, content, attempt)

    def write_tar(
        self, path: Path, attempt: Path, scenes: Sequence[Scene], rirs: Rirs | None = None
    ) -> None:
        """Write an archive of all scenes of a shard, in their order.

        Args:
            attempt: folder for what is not whole yet, on the same disk.
        """
        with (
            replacing(path, attempt) as file,
            tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as archive,
        ):
            for scene in scenes:
                for name, content in files(self.render(scene, rirs), self.corpus).items():
                    member = tarfile.TarInfo(member_name(scene.id, name))  # time and owner: 0
                    member.size = len(content)
                    archive.addfile(member, BytesIO(content))

    def write_folder(
        self, folder: Path, attempt: Path, scene: Scene, rirs: Rirs | None = None
    ) -> None:
        """Write the folder of a scene; it gets its name when all of its files are there.

        One that is there stays, unless a file in it is damaged or gone.
        """
        if _is_whole(folder, self.scene_files(scene)):
            return
        temporary = attempt / scene.id
        made = files(self.render(scene, rirs), self.corpus)
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            temporary.mkdir()
            for name, content in made.items():
                (temporary / name).write_bytes(content)
        except OSError as error:
            error.filename = str(folder)  # not the name that it has meanwhile
            raise
        with suppress(FileNotFoundError):  # most often there is none
            folder.rename(attempt / f"{scene.id}.damaged")
        try:
            temporary.rename(folder)
        except OSError:
            if not folder.exists():  # else another process was quicker with the same scene
                raise

    @contextmanager
    def _attempt(self) -> Iterator[Path]:
        """A folder of its own, gone afterwards, as is what killed processes left."""
        place = ProcessPaths(self.output / PARTS_NAME, _ATTEMPT)
        folder = place.new()
        try:
            folder.mkdir(parents=True)
            place.remove_leftovers()
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _write_file(self, path: Path, content: str | Iterator[str]) -> None:
        parts = self.output / PARTS_NAME
        parts.mkdir(parents=True, exist_ok=True)
        write_atomically(path, content, parts)

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
        scenes, metadata = self.output / SCENES_NAME, self.output / METADATA_NAME
        try:
            if not scenes.exists():
                self._write_file(scenes, map(self._rows, range(len(self))))
            if self.audio and not metadata.exists():
                self._write_file(metadata, self._metadata())
        except OSError as error:
            raise self._unwritable(error) from error
        parts = self.output / PARTS_NAME
        for attempt in parts.glob(f"{_ATTEMPT}*"):  # all shards are there: nobody needs one
            shutil.rmtree(attempt, ignore_errors=True)
        with suppress(OSError):
            parts.rmdir()  # only if empty
        return True

    def _rows(self, shard: int) -> str:
        return marker_path(self.output, shard).read_text(encoding="utf-8")

    def _metadata(self) -> Iterator[str]:
        """The table of LibriMix, with where the speakers stand; paths relative to its folder."""
        most = self.source.most_speakers
        numbers = range(1, most + 1)
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
            for line in filter(None, self._rows(shard).split("\n")):
                scene = Scene.model_validate_json(line)
                speakers = scene.room.speakers
                blank = [""] * (most - len(speakers))
                names = (MIXTURE_NAME, *(speaker_file(i) for i in range(len(speakers))))
                yield _csv_row(
                    [
                        scene.id,
                        *(path_within(self.format, shard, scene.id, name) for name in names),
                        *blank,
                        scene.num_samples,
                        *(round(speaker.azimuth, 4) for speaker in speakers),
                        *blank,
                        *(round(speaker.distance, 4) for speaker in speakers),
                        *blank,
                    ]
                )


def _is_whole(folder: Path, names: Sequence[str]) -> bool:
    try:
        found = {name: (folder / name).read_bytes() for name in names}
        check_files(parse_labels(found.pop(LABELS_NAME)), found)
    except (OSError, ValueError):
        return False
    return True


def _csv_row(columns: Sequence[object]) -> str:
    line = StringIO()
    csv.writer(line, lineterminator="\n").writerow(columns)
    return line.getvalue()
