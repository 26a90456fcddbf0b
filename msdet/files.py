# SPDX-License-Identifier: Apache-2.0
"""Files that appear whole or not at all, also to those who look while they are written."""

from __future__ import annotations

import json
import os
import platform
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from glob import escape
from pathlib import Path
from typing import Any, BinaryIO
from uuid import uuid4
from zlib import crc32

from psutil import pid_exists


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


@contextmanager
def replacing(path: Path, scratch: Path | None = None) -> Iterator[BinaryIO]:
    """A file to write to, which gets its name, in place of what has it, when all is on the disk.

    Args:
        scratch: folder that holds it until then, on the same disk, which must be there; None
            takes the file's own, where a kill leaves a hidden ``.part``.
    Raises:
        OSError: with the name of the file, and not the one that it has meanwhile.
    """
    temporary = (scratch or path.parent) / f".{path.name}.{uuid4().hex[:12]}.part"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
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


@dataclass(frozen=True)
class ProcessFolders:
    """Temporary folders whose names say which process of which machine they are of, so that what a
    killed one left can be told from what is at work.

    Attributes:
        parent: where they are. start, suffix: of their names.
    """

    parent: Path
    start: str
    suffix: str = ""

    @property
    def prefix(self) -> str:
        """What the names of this process's begin with."""
        return f"{self._of_machine}{os.getpid()}-"

    def new(self) -> Path:
        """The path of another one; it is not made."""
        return self.parent / f"{self.prefix}{uuid4().hex[:12]}{self.suffix}"

    def remove_leftovers(self) -> None:
        """Delete what processes left that run no more; what cannot be deleted stays."""
        for path in self.parent.glob(f"{escape(self._of_machine)}*{self.suffix}"):
            process = path.name.removeprefix(self._of_machine).partition("-")[0]
            if process.isdigit() and not path.is_symlink() and not pid_exists(int(process)):
                shutil.rmtree(path, ignore_errors=True)

    @property
    def _of_machine(self) -> str:
        return f"{self.start}{crc32(platform.node().encode()):08x}-"
