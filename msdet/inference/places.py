# SPDX-License-Identifier: Apache-2.0
"""Which recordings are asked for, and which folder the speakers of each are written to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from msdet.errors import InputError
from msdet.simulation.layouts import FOLDERS, LABELS_NAME, MIXTURE_NAME

_AUDIO = {".wav", ".wave", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aiff", ".aif", ".au",
          ".w64", ".rf64", ".caf"}  # fmt: skip


@dataclass(frozen=True)
class Place:
    """A recording, and the folder of its speakers."""

    recording: Path
    folder: Path


def places_of(names: Sequence[str], output: str | None) -> list[Place]:
    """Of files, and of all audio files in folders and the folders in them.

    In a folder of `msdet simulate`, the mixtures are the recordings and have the folders of their
    scenes, as `msdet evaluate` reads estimates.

    Args:
        output: None takes ``outputs/separated``. Of a single file it is the folder itself; of
            several, each has one in it, at the same place as in the folder that it was found in.
    Raises:
        InputError: a folder holds no audio, or two recordings would be written to one place.
    """
    found: list[tuple[Path, Path]] = []
    for name in names:
        path = Path(name)
        if path.is_dir():
            files = sorted(p for p in path.rglob("*") if _is_audio(p, path))
            if not files:
                raise InputError(f"recording={path}: a folder without audio files")
            scenes = {file.parent for file in files if _is_mixture(file)}
            for file in files:
                if file.parent not in scenes:
                    found.append((file, file.relative_to(path)))
                elif file.name == MIXTURE_NAME:
                    found.append((file, _scene_in(path, file.parent)))
        else:
            found.append((path, Path(path.name)))
    if len(found) == 1 and output is not None and not Path(names[0]).is_dir():
        return [Place(found[0][0], Path(output))]
    root = Path("outputs", "separated") if output is None else Path(output)
    stems = Counter(inside.with_suffix("") for _, inside in found)
    places = []
    for path, inside in found:
        alone = stems[inside.with_suffix("")] == 1
        places.append(Place(path, root / (inside.with_suffix("") if alone else inside)))
    _refuse_one_place_for_two(places)
    return places


def _is_mixture(file: Path) -> bool:
    """Whether it is that of a rendered scene, beside which the speakers' own audio lies."""
    return file.name == MIXTURE_NAME and (file.parent / LABELS_NAME).exists()


def _scene_in(folder: Path, scene: Path) -> Path:
    """A scene as if it were a recording of its name, without the ``audio`` that it lies in."""
    *parents, name = scene.relative_to(folder).parts or (folder.resolve().name,)
    if parents[-1:] == [FOLDERS["folder"]]:
        parents.pop()
    return Path(*parents, f"{name}.wav")


def _is_audio(path: Path, root: Path) -> bool:
    hidden = any(part.startswith(".") for part in path.relative_to(root).parts)
    return path.suffix.lower() in _AUDIO and not hidden and path.is_file()


def _refuse_one_place_for_two(places: Sequence[Place]) -> None:
    first: dict[Path, Path] = {}
    for place in places:
        other = first.setdefault(place.folder, place.recording)
        if other != place.recording or sum(p.recording == other for p in places) > 1:
            raise InputError(
                f"recording: {other} and {place.recording} would both be written to "
                f"{place.folder}; separate one of them with an output= of its own"
            )
