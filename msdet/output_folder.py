# SPDX-License-Identifier: Apache-2.0
"""A command's output folder: written to by one command at a time, whole or empty to the next."""

from __future__ import annotations

import fcntl
import logging
import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from msdet.errors import InputError
from msdet.files import PART

LOCK_NAME = ".lock"

_WAIT_SECONDS = 2.0
"""Processes that a killed command began may hold its lock for a moment more."""

_log = logging.getLogger(__name__)


_held: set[tuple[int, int, str]] = set()
"""Folders that this process has locked: device, inode, name of the lock."""


@contextmanager
def sole_user(folder: Path, lock: str = LOCK_NAME) -> Iterator[None]:
    """Keep other commands out of a folder until this one ends, however it ends.

    The lock is a file's, which the system lets go of when the process is gone. The file goes with
    it, also where the folder was renamed meanwhile; a kill leaves it, and the next command takes
    it over. What this process has locked already is its own.

    Args:
        folder: is made where it is not there.
        lock: name of the file in it; commands with other names do not keep each other out.
    Raises:
        InputError: another command is writing there, and which; or the folder cannot be written.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"output={folder}: is a file; choose another output=")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        place = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise InputError(f"output={folder}: cannot be written ({error.strerror})") from error
    status = os.fstat(place)
    key = (status.st_dev, status.st_ino, lock)
    try:
        if key in _held:
            yield
            return
        file = _locked(folder, place, lock)
        _held.add(key)
        try:
            yield
        finally:
            _held.remove(key)
            with suppress(OSError):
                os.unlink(lock, dir_fd=place)  # while it is held: nobody else's is removed
            os.close(file)
    finally:
        os.close(place)


def _locked(folder: Path, place: int, lock: str) -> int:
    """Lock the file; return its descriptor."""
    until = time.monotonic() + _WAIT_SECONDS
    while True:
        try:
            file = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666, dir_fd=place)
        except OSError as error:
            raise InputError(f"output={folder}: cannot be written ({error.strerror})") from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(file).st_nlink:  # else its last holder has just removed it
                with suppress(OSError):  # on a full disk it is held without a name
                    os.truncate(file, 0)
                    os.write(file, f"process {os.getpid()} on {platform.node()}".encode())
                return file
        except BlockingIOError as error:
            if time.monotonic() > until:
                holder = os.read(file, 200).decode(errors="replace") or "another command"
                os.close(file)
                raise InputError(
                    f"output={folder}: {holder} is writing there; wait for its end, or choose "
                    "another output="
                ) from error
            time.sleep(0.05)
        except OSError as error:
            _log.warning(
                "%s: its file system has no locks (%s): see to it yourself that one command at a "
                "time writes there",
                folder,
                error.strerror,
            )
            return file
        os.close(file)


def contents(folder: Path) -> list[Path]:
    """List a folder without what commands leave there that are killed at their first write.

    One that is not there holds nothing.

    Raises:
        OSError: it cannot be read.
    """

    def is_left(name: str) -> bool:
        return name.startswith(LOCK_NAME) or (name.startswith(".") and name.endswith(PART))

    if not folder.exists():
        return []
    return [path for path in folder.iterdir() if not is_left(path.name)]
