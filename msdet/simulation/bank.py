# SPDX-License-Identifier: Apache-2.0
"""Room impulse responses on disk: made once, in parallel, and read back by whoever needs them.

One file per room, named after everything that shaped it, so that a file is either right or not
there: what was cut short or damaged is found by its checksum and made again. Files are mapped into
memory when they are asked for; the operating system's page cache is what all processes share.
"""

from __future__ import annotations

import hashlib
import json
import logging
import mmap
import os
import random
import zlib
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from functools import cache
from importlib.metadata import version
from pathlib import Path

import numpy as np

from msdet.errors import InputError
from msdet.files import PART, ProcessPaths, user_cache
from msdet.geometry import SPEED_OF_SOUND, MicrophoneArray
from msdet.simulation.rirs import METHOD, Rirs, compute_rirs
from msdet.simulation.rooms import Room, canonical
from msdet.workers import progress_bar

_log = logging.getLogger(__name__)

_CHECKSUM, _LONGEST_HEADER = 8, 4096
"""Bytes of a file that the checksum takes, in hexadecimal, and that it and the header take."""


def rirs_folder(cache: str | None) -> Path:
    """The folder of room responses: the one asked for, or one in the user's cache folder."""
    return user_cache("rirs") if cache is None else Path(cache)


class RirBank:
    """The responses of rooms as one array hears them at one sample rate.

    Rooms that differ by a symmetry of the array share a file: its microphones are read in another
    order. Several processes may use and fill one directory at the same time.
    """

    def __init__(self, directory: Path | str, array: MicrophoneArray, sample_rate: int) -> None:
        self.directory = Path(directory)
        self.array = array
        self.sample_rate = sample_rate
        self._unfinished = ProcessPaths(self.directory, ".rirs.", PART)
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"{self.directory}: cannot hold room responses ({error.strerror or error})"
            ) from error

    def get(self, room: Room) -> Rirs:
        """The responses of a room; made, and kept, if they are not there."""
        base, permutation = canonical(room, self.array)
        path = self._path(base)
        rirs = self._read(path)
        if rirs is None:
            rirs = self._make(base, path)
        return rirs.permuted(permutation)

    def fill(self, rooms: Iterable[Room], num_workers: int = 1, progress: bool = True) -> int:
        """Make what is missing or cut short, `num_workers` rooms at a time.

        Other damage is found, and mended, when a file is read: reading all of a large bank would
        take minutes.

        Returns:
            How many were made.
        """
        return fill_banks([(self, rooms)], num_workers, progress)

    def _missing(self, rooms: Iterable[Room]) -> list[tuple[Room, Path]]:
        """Return the rooms whose files are not there, or cut short."""
        self._unfinished.remove_leftovers()
        wanted = {self._path(base): base for base, _ in (canonical(r, self.array) for r in rooms)}
        return [(base, path) for path, base in wanted.items() if not _is_whole(path)]

    def _path(self, base: Room) -> Path:
        shaped_by = {
            "method": METHOD,
            "pyroomacoustics": pyroomacoustics_version(),
            "speed_of_sound": SPEED_OF_SOUND,
            "sample_rate": self.sample_rate,
            "array": self.array.positions,
            **base.acoustics(),
        }
        digest = hashlib.sha256(json.dumps(shaped_by, sort_keys=True).encode()).hexdigest()
        return self.directory / f"{digest[:32]}.rirs"

    def _make(self, base: Room, path: Path) -> Rirs:
        rirs = compute_rirs(base, self.array, self.sample_rate)
        temporary = self._unfinished.new()
        try:  # not `replacing`, which syncs each file and searches the folder for leftovers of it
            temporary.write_bytes(_encode(rirs))
            temporary.replace(path)
        except OSError as error:
            raise InputError(f"{path}: cannot be written ({error.strerror or error})") from error
        finally:
            temporary.unlink(missing_ok=True)
        return rirs

    def _make_file(self, base: Room, path: Path) -> None:
        """Hands nothing back: thousands of results would wait in memory for the last one."""
        if not _is_whole(path):  # another process may have made it meanwhile
            self._make(base, path)

    def _read(self, path: Path) -> Rirs | None:
        """None where there is no sound file."""
        try:
            return _decode(_mapped(path))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
        except (ValueError, KeyError, TypeError) as error:
            _log.warning("%s is damaged (%s) and is made again", path, error)
            return None


def fill_banks(
    wanted: Iterable[tuple[RirBank, Iterable[Room]]], num_workers: int = 1, progress: bool = True
) -> int:
    """:meth:`RirBank.fill` for the banks of several arrays, side by side.

    Threads, not processes: the work is done outside of Python's lock, and threads need no copies
    of the program in memory.

    Returns:
        How many were made.
    """
    missing = [(bank, *one) for bank, rooms in wanted for one in bank._missing(rooms)]
    if not missing:
        return 0
    random.Random(os.getpid()).shuffle(missing)  # processes that fill one bank share the work
    bar = progress_bar("room responses", disable=not progress)
    pool = ThreadPoolExecutor(max(1, num_workers))
    try:
        with bar:
            task = bar.add_task("", total=len(missing))
            made = [pool.submit(bank._make_file, base, path) for bank, base, path in missing]
            for one in as_completed(made):
                one.result()
                bar.advance(task)
    finally:
        pool.shutdown(cancel_futures=True)
    return len(missing)


@cache
def pyroomacoustics_version() -> str:
    """Responses depend on it."""
    return version("pyroomacoustics")


def _mapped(path: Path) -> memoryview:
    """A file's content; what is written over or removed later stays as it was here."""
    with path.open("rb") as file:
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


def _encode(rirs: Rirs) -> bytes:
    """A checksum of the rest, a line of JSON, then the responses as little-endian float32."""
    arrays = (rirs.image, rirs.direct, rirs.noise, rirs.drr_db)
    body = b"".join(a.astype("<f4").tobytes() for a in arrays)
    header = {
        "shapes": [a.shape for a in arrays],
        "delay": rirs.delay,
        "sample_rate": rirs.sample_rate,
        "t60_measured": rirs.t60_measured,
    }
    rest = json.dumps(header).encode() + b"\n" + body
    return b"%08x" % zlib.crc32(rest) + rest


def _decode(content: memoryview) -> Rirs:
    if zlib.crc32(content[_CHECKSUM:]) != int(bytes(content[:_CHECKSUM]), 16):
        raise ValueError("checksum differs")
    line, newline, _ = bytes(content[_CHECKSUM:_LONGEST_HEADER]).partition(b"\n")
    body = content[_CHECKSUM + len(line) + len(newline) :]
    header = json.loads(line)
    numbers = np.frombuffer(body, "<f4")
    shapes = header["shapes"]
    ends = np.cumsum([np.prod(shape) for shape in shapes])
    parts = np.split(numbers, ends[:-1])
    image, direct, noise, drr_db = (p.reshape(s) for p, s in zip(parts, shapes, strict=True))
    return Rirs(
        image=image,
        direct=direct,
        noise=noise,
        delay=header["delay"],
        sample_rate=header["sample_rate"],
        t60_measured=header["t60_measured"],
        drr_db=drr_db,
    )


def _is_whole(path: Path) -> bool:
    """Return whether a file is there and as long as its header says."""
    try:
        with path.open("rb") as file:
            line = file.readline()
            length = os.fstat(file.fileno()).st_size
        values = sum(int(np.prod(shape)) for shape in json.loads(line[_CHECKSUM:])["shapes"])
    except FileNotFoundError:
        return False
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
    except (ValueError, KeyError, TypeError, RecursionError):
        return False
    return length == len(line) + 4 * values
