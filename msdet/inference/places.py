# SPDX-License-Identifier: Apache-2.0
"""Which recordings are asked for, and which folder the speakers of each are written to."""

from __future__ import annotations

import os
import re
import shlex
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path

import soundfile

from msdet.audio_files import find_audio
from msdet.errors import InputError
from msdet.simulation.mixture_files import FOLDERS, LABELS_NAME, MIXTURE_NAME


@dataclass(frozen=True)
class Place:
    """A recording, and the folder of its speakers.

    Attributes:
        recording: its file; of several files the folder that they are in, or the first of them.
        files: one with all microphones, or one for each in their order.
    """

    recording: Path
    folder: Path
    files: tuple[Path, ...]


def places_of(names: Sequence[str], output: str | None, together: bool = False) -> list[Place]:
    """The recordings in files, and in folders and the folders in them.

    In a folder of `msdet simulate`, the mixtures are the recordings and have the folders of their
    scenes, as `msdet evaluate` reads estimates.

    Args:
        output: None takes ``outputs/separated``. Of a single recording it is the folder itself; of
            several, each has one in it, at the same place as in the folder that it was found in.
        together: the files are one recording, with a microphone in each; so are those that lie in
            one folder, in the order of the numbers in their names.
    Raises:
        InputError: a folder holds no audio, all files are mono, or two recordings would be written
            to one place.
    """
    if not names:
        raise InputError("recording=[]: names no recording")
    if output is not None and _utf8(output) != output:
        raise InputError(f"output={output}: the name is not UTF-8; take another")
    folders = [name for name in names if os.path.isdir(name)]
    found = list(_together(names, folders) if together else _each(names, folders))
    if not together:
        _refuse_all_mono(names, found)
    if len(found) == 1 and output is not None and (together or not folders):
        return [replace(found[0], folder=Path(output))]
    root = Path("outputs", "separated") if output is None else Path(output)
    places = [replace(place, folder=root / _utf8(str(place.folder))) for place in found]
    _refuse_one_place_for_two(places)
    return places


def _each(names: Sequence[str], folders: Sequence[str]) -> Iterator[Place]:
    """Each file, with a folder relative to that of all; audio in folders is found."""
    found: list[tuple[Path, Path]] = []
    for name in names:
        if name in folders:
            found += _in_folder(Path(name))
        elif not Path(name).name:
            raise InputError(f"recording={name!r}: names no file")
        else:
            found.append((Path(name), Path(Path(name).name)))
    stems = Counter(inside.with_suffix("") for _, inside in found)
    for file, inside in found:
        stem = inside.with_suffix("")
        yield Place(file, stem if stems[stem] == 1 else inside, (file,))


def _in_folder(folder: Path) -> Iterator[tuple[Path, Path]]:
    """The recordings in a folder, and where they are in it; of rendered scenes, the mixtures."""
    audio = _audio_in(folder)
    scenes = {file.parent for file in audio if _is_mixture(file)}
    for file in audio:
        if file.parent not in scenes:
            yield file, file.relative_to(folder)
        elif file.name == MIXTURE_NAME:
            yield file, _scene_in(folder, file.parent)


def _together(names: Sequence[str], folders: Sequence[str]) -> Iterator[Place]:
    """Likewise: all files as one recording, or those of each folder as one."""
    if not folders:
        files = tuple(map(Path, names))
        yield Place(files[0], Path(_shared_name(files)), files)
    elif len(folders) < len(names):
        raise InputError(
            "together=true: name the files of one recording, or folders that hold one each, not "
            "both"
        )
    for name in folders:
        audio = _audio_in(Path(name))
        for folder in sorted({file.parent for file in audio}):
            inside = folder.relative_to(name) if folder != Path(name) else folder.absolute().name
            files = tuple(sorted((f for f in audio if f.parent == folder), key=_natural))
            yield Place(folder, Path(inside), files)


def _audio_in(folder: Path) -> list[Path]:
    audio = find_audio(folder)
    if not audio:
        raise InputError(f"recording={folder}: a folder without audio files")
    return audio


def _natural(path: Path) -> tuple[list[str], list[int]]:
    """Sorts ``ch10`` after ``ch2``."""
    parts = re.split(r"(\d+)", path.name.casefold())
    return parts[::2], [int(digits) for digits in parts[1::2]]


def _shared_name(files: Sequence[Path]) -> str:
    """With what all names begin, numbers being whole; else the name of their folder.

    >>> _shared_name([Path("a/meeting_ch1.wav"), Path("a/meeting_ch12.wav")])
    'meeting_ch'
    >>> _shared_name([Path("a/1.wav"), Path("a/2.wav")])
    'a'
    """
    names = [re.findall(r"\d+|\D+", file.stem) for file in files]
    alike = takewhile(lambda parts: len(set(parts)) == 1, zip(*names, strict=False))
    shared = "".join(parts[0] for parts in alike)
    return shared.rstrip(" .-_") or files[0].absolute().parent.name or files[0].stem


def _refuse_all_mono(names: Sequence[str], places: Sequence[Place]) -> None:
    """Of several files that are one microphone each it is said at once how they are separated."""
    if len(places) < 2:
        return
    for place in places:
        with suppress(soundfile.LibsndfileError, RuntimeError, TypeError, OSError, UnicodeError):
            if not os.path.isfile(place.recording) or soundfile.info(place.recording).channels > 1:
                return
            continue
        return  # what cannot be read gets its own message
    shown = shlex.join(names) if len(names) < 9 else "FILE..."
    raise InputError(
        f"recording: all {len(places)} files are mono; where each is one microphone of the same "
        f"recording: msdet separate {shown} --together (in the order of array='s microphones)"
    )


def _utf8(name: str) -> str:
    """Without what is not UTF-8, which most programs cannot read from names."""
    return re.sub("[\ud800-\udfff]", "_", name)


def _is_mixture(file: Path) -> bool:
    """Whether it is that of a rendered scene, beside which the speakers' own audio lies."""
    return file.name == MIXTURE_NAME and (file.parent / LABELS_NAME).exists()


def _scene_in(folder: Path, scene: Path) -> Path:
    """A scene as if it were a recording of its name, without the ``audio`` that it lies in."""
    *parents, name = scene.relative_to(folder).parts or (folder.resolve().name,)
    if parents[-1:] == [FOLDERS["folder"]]:
        parents.pop()
    return Path(*parents, f"{name}.wav")


def _refuse_one_place_for_two(places: Sequence[Place]) -> None:
    first: dict[Path, Path] = {}
    for place in places:
        other = first.setdefault(place.folder, place.recording)
        if other != place.recording or sum(p.recording == other for p in places) > 1:
            raise InputError(
                f"recording: {other} and {place.recording} would both be written to "
                f"{place.folder}; separate one of them with an output= of its own"
            )
