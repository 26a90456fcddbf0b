# SPDX-License-Identifier: Apache-2.0
"""Recordings found by name, and the folder that the speakers of each are written to."""

from __future__ import annotations

import os
import re
import shlex
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path

import soundfile

from msdet.audio_files import find_audio
from msdet.errors import InputError
from msdet.simulation.mixture_files import FOLDERS, LABELS_NAME, MIXTURE_NAME


@dataclass(frozen=True)
class RecordingPaths:
    """A recording's files, and the folder of its speakers.

    Attributes:
        recording: its file; of several files the folder that they are in, or the first of them.
        files: one with all microphones, or one for each in their order.
    """

    recording: Path
    folder: Path
    files: tuple[Path, ...]


def find_recordings(
    names: Sequence[str], output: str | None, together: bool = False
) -> list[RecordingPaths]:
    """Find the recordings in files, and in folders and the folders in them.

    In a folder of `msdet simulate`, the mixtures are the recordings and have the folders of their
    scenes, as `msdet evaluate` reads estimates.

    Args:
        output: None takes ``outputs/separated``. Of a single recording it is the folder itself; of
            several, each has one in it, at the same place as in the folder that it was found in.
        together: the files are one recording, with a microphone in each; so are those that lie in
            one folder, in the order of the numbers in their names.
    Raises:
        InputError: a folder holds no audio, all files are mono, or two recordings would be written
            to one folder.
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
    found = [replace(one, folder=root / _utf8(str(one.folder))) for one in found]
    first: dict[Path, Path] = {}
    for one in found:
        if one.folder in first:
            raise InputError(
                f"recording: {first[one.folder]} and {one.recording} would both be written to "
                f"{one.folder}; separate one of them with an output= of its own"
            )
        first[one.folder] = one.recording
    return found


def _each(names: Sequence[str], folders: Sequence[str]) -> Iterator[RecordingPaths]:
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
        yield RecordingPaths(file, stem if stems[stem] == 1 else inside, (file,))


def _in_folder(folder: Path) -> Iterator[tuple[Path, Path]]:
    """The recordings in a folder, and where they are in it; of rendered scenes, the mixtures, in
    folders named after the scenes, without the ``audio`` that these lie in."""
    audio = _audio_in(folder)
    mixtures = {
        file.parent: file
        for file in audio
        if file.name == MIXTURE_NAME and (file.parent / LABELS_NAME).exists()
    }
    for file in audio:
        if file.parent not in mixtures:
            yield file, file.relative_to(folder)
        elif file == mixtures[file.parent]:
            *parents, name = file.parent.relative_to(folder).parts or (folder.resolve().name,)
            if parents[-1:] == [FOLDERS["folder"]]:
                parents.pop()
            yield file, Path(*parents, f"{name}.wav")


def _together(names: Sequence[str], folders: Sequence[str]) -> Iterator[RecordingPaths]:
    """Likewise: all files as one recording, or those of each folder as one."""
    if not folders:
        files = tuple(map(Path, names))
        yield RecordingPaths(files[0], Path(_shared_name(files)), files)
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
            yield RecordingPaths(folder, Path(inside), files)


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
    """The common beginning of all names, numbers being whole; else the name of their folder.

    >>> _shared_name([Path("a/meeting_ch1.wav"), Path("a/meeting_ch12.wav")])
    'meeting_ch'
    >>> _shared_name([Path("a/1.wav"), Path("a/2.wav")])
    'a'
    """
    names = [re.findall(r"\d+|\D+", file.stem) for file in files]
    alike = takewhile(lambda parts: len(set(parts)) == 1, zip(*names, strict=False))
    shared = "".join(parts[0] for parts in alike)
    return shared.rstrip(" .-_") or files[0].absolute().parent.name or files[0].stem


def _refuse_all_mono(names: Sequence[str], found: Sequence[RecordingPaths]) -> None:
    """Say at once, of several files of one microphone each, how they are separated."""
    if len(found) < 2:
        return
    for one in found:
        try:
            if not os.path.isfile(one.recording) or soundfile.info(one.recording).channels > 1:
                return
        except (soundfile.LibsndfileError, RuntimeError, TypeError, OSError, UnicodeError):
            return  # what cannot be read gets its own message
    shown = shlex.join(names) if len(names) < 9 else "FILE..."
    raise InputError(
        f"recording: all {len(found)} files are mono; where each is one microphone of the same "
        f"recording: msdet separate {shown} --together (in the order of array='s microphones)"
    )


def _utf8(name: str) -> str:
    """Replace what is not UTF-8, which most programs cannot read from names."""
    return re.sub("[\ud800-\udfff]", "_", name)
