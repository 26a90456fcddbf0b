# SPDX-License-Identifier: Apache-2.0
"""Audio files in folders, for all who read folders of them; what systems leave there is passed
over."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from msdet.errors import InputError

AUDIO_SUFFIXES = (".wav", ".wave", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aiff", ".aif", ".au",
                  ".w64", ".rf64", ".caf")  # fmt: skip

_NOT_THE_USERS = {"@eaDir", "@Recycle", "#recycle", "$RECYCLE.BIN", "lost+found", "__MACOSX"}
"""Folders that network storage, Windows, and disks and ZIPs of a Mac add; those of other systems
begin with a dot."""


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn what libsndfile and the system say into one line that names the file.

    Raises:
        InputError: in place of their errors.
    """
    import soundfile

    try:
        yield
    except (soundfile.SoundFileError, OSError, UnicodeError) as error:
        raise InputError(f"{path}: cannot be read as audio ({error})") from None


def find_audio(root: Path, suffixes: tuple[str, ...] = AUDIO_SUFFIXES) -> list[Path]:
    """Audio files below a folder in the order of their names; see `walk`."""
    return sorted(root / path for path in walk(root, suffixes))


def walk(root: Path, suffixes: tuple[str, ...]) -> Iterator[Path]:
    """Files below a folder, relative to it, whose names end like this in letters of any case.

    Links are followed. Left out are hidden files and folders, such as the ``._take.wav`` that a Mac
    puts beside ``take.wav``, wastebaskets, and what is no file, such as a pipe.

    Raises:
        InputError: a folder cannot be listed.
    """

    def refuse(error: OSError) -> None:
        raise InputError(f"{error.filename}: cannot be listed ({error.strerror})") from error

    entered: set[str] = set()
    for folder, folders, files in os.walk(root, onerror=refuse, followlinks=True):
        real = os.path.realpath(folder)
        if real in entered:  # a link leads back up, or to a folder that was listed already
            folders.clear()
            continue
        entered.add(real)
        folders[:] = sorted(name for name in folders if _is_the_users(name))
        inside = Path(folder).relative_to(root)
        for name in sorted(files):
            if name.lower().endswith(suffixes) and _is_the_users(name):
                path = os.path.join(folder, name)
                if os.path.isfile(path) or os.path.islink(path):  # who reads a dead link says so
                    yield inside / name


def _is_the_users(name: str) -> bool:
    return not name.startswith(".") and name not in _NOT_THE_USERS
