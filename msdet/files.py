# SPDX-License-Identifier: Apache-2.0
"""Files that appear whole or not at all, also to those who look while they are written; and where
what can be made again is kept."""

from __future__ import annotations

import errno
import json
import logging
import os
import platform
import re
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from glob import escape
from pathlib import Path
from typing import Any, BinaryIO
from uuid import uuid4
from zlib import crc32

from psutil import pid_exists

from msdet.errors import InputError

PART = ".part"
"""The end of the names of files that are not whole yet, which are hidden, too."""

_STALE_SECONDS = 24 * 3600.0

_log = logging.getLogger(__name__)


def user_cache(name: str) -> Path:
    """Return a folder of this name in the user's cache folder, made where it is not there.

    Where none can be made, as in a container whose user has no home, it is one in the temporary
    folder that no other user can write to, and a warning says so.

    Raises:
        InputError: the temporary folder holds somebody else's of the same name.
    """
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    if not base.startswith("~"):  # as it begins where there is no home
        with suppress(OSError):
            folder = Path(base, "msdet", name)
            folder.mkdir(parents=True, exist_ok=True)
            return folder
    user = os.getuid() if hasattr(os, "getuid") else 0
    root = Path(tempfile.gettempdir(), f"msdet-cache-{user}")
    root.mkdir(mode=0o700, exist_ok=True)
    if root.is_symlink() or root.stat().st_uid != user:
        raise InputError(f"{root}: is another user's; set XDG_CACHE_HOME to a folder of yours")
    _warn_once(f"no cache folder can be made in {base}; {root} takes its place")
    (root / name).mkdir(exist_ok=True)
    return root / name


@lru_cache(maxsize=8)
def _warn_once(message: str) -> None:
    _log.warning("%s", message)


def write_atomically(
    path: Path, content: str | bytes | Iterable[str], scratch: Path | None = None
) -> None:
    """Write a file, text as UTF-8.

    Args:
        content: all of it, or pieces of text one after the other.
        scratch: as of `replacing`.
    Raises:
        OSError: with the name of the file, and not the one that it has meanwhile.
    """
    pieces = (content,) if isinstance(content, str | bytes) else content
    with replacing(path, scratch) as file:
        for piece in pieces:
            file.write(piece if isinstance(piece, bytes) else piece.encode())


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a file of JSON that people can read; errors as of `write_atomically`."""
    write_atomically(path, json.dumps(content, indent=2) + "\n")


def read_json(path: Path, mend: str) -> dict[str, Any]:
    """Read an object from a file of JSON that msdet wrote for itself.

    Args:
        mend: what to do about a damaged file, for the message.
    Raises:
        InputError: the file cannot be read, or holds anything but one JSON object.
    """
    return _parsed(path, _text(path, mend), mend)


def read_json_lines(path: Path, mend: str) -> list[dict[str, Any]]:
    """Read objects from a file of JSON that msdet wrote for itself, one a line; see `read_json`."""
    return [_parsed(path, line, mend) for line in _text(path, mend).split("\n") if line.strip()]


def _text(path: Path, mend: str) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); {mend}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is damaged (no text); {mend}") from error


def _parsed(path: Path, text: str, mend: str) -> dict[str, Any]:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: is damaged (no JSON); {mend}") from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: is damaged (no JSON object); {mend}")
    return content


@contextmanager
def replacing(path: Path, scratch: Path | None = None) -> Iterator[BinaryIO]:
    """Open a file to write to, which takes the place of what has its name when all is on the disk.

    Args:
        scratch: folder that holds it until then, on the same disk, which must be there; None
            takes the file's own. A kill leaves a hidden ``.part`` there, which goes when the same
            file is written the next time.
    Raises:
        OSError: with the name of the file, and not the one that it has meanwhile.
    """
    place = ProcessPaths(scratch or path.parent, f".{path.name}.", PART)
    temporary = place.new()
    try:
        if path.exists() and not path.is_file():  # such as /dev/null, which a rename would replace
            raise FileExistsError(errno.EEXIST, "is there and no regular file")
        path.parent.mkdir(parents=True, exist_ok=True)
        place.remove_leftovers()
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())  # before a name says that it is there
        temporary.replace(path)
    except OSError as error:
        error.filename = str(path)
        raise
    finally:
        with suppress(OSError):
            temporary.unlink()


@contextmanager
def scratch_folder(beside: Path) -> Iterator[Path]:
    """Make a hidden folder beside another, on its disk, which goes at the end with what is in it.

    A kill leaves it; then it goes when the same is made the next time.
    """
    place = ProcessPaths(beside.parent, f".{beside.name}.", PART)
    place.remove_leftovers()
    folder = place.new()
    try:
        folder.mkdir(parents=True)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True)
class ProcessPaths:
    """Temporary files and folders whose names say which process of which machine they are of, so
    that what a killed one left can be told from what is at work.

    Attributes:
        parent: where they are. start, suffix: of their names.
    """

    parent: Path
    start: str
    suffix: str = ""

    @property
    def prefix(self) -> str:
        """The beginning of the names of this process's."""
        return f"{self.start}{_machine()}-{os.getpid()}-"

    def new(self) -> Path:
        """The path of another one; it is not made."""
        return self.parent / f"{self.prefix}{uuid4().hex[:12]}{self.suffix}"

    def remove_leftovers(self) -> None:
        """Delete what processes left that run no more; what cannot be deleted stays.

        Of processes of other machines, that is what nobody has written to for a day.
        """
        for path in self.parent.glob(f"{escape(self.start)}*{escape(self.suffix)}"):
            found = re.match(r"([0-9a-f]{8})-(\d+)-", path.name.removeprefix(self.start))
            if found is None or path.is_symlink():
                continue
            with suppress(OSError):
                if found[1] == _machine():
                    gone = not pid_exists(int(found[2]))
                else:
                    gone = _untouched_seconds(path) > _STALE_SECONDS
                if gone:
                    shutil.rmtree(path) if path.is_dir() else path.unlink()


def _untouched_seconds(path: Path) -> float:
    return time.time() - max(p.stat().st_mtime for p in (path, *path.rglob("*")))


def _machine() -> str:
    return f"{crc32(platform.node().encode()):08x}"
