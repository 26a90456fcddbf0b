# SPDX-License-Identifier: Apache-2.0
"""Room impulse responses on disk: made once, in parallel, and read back by whoever needs them.

One file per room, named after everything that shaped it, so that a file is either right or not
there: what was cut short or damaged is found by its checksum and made again. Files are mapped into
memory when they are asked for; the operating system's page cache is what all processes share.

A bank that was made ahead has a record of the rooms in it, beside their files::

    BANK/bank.json     what the rooms were drawn from, for which array and sample rate
    BANK/*.rirs        the responses, one file a room
"""

from __future__ import annotations

import hashlib
import json
import logging
import mmap
import os
import random
import zlib
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from msdet.corpora import Split
from msdet.errors import InputError
from msdet.files import PART, ProcessPaths, user_cache
from msdet.geometry import SPEED_OF_SOUND, MicrophoneArray
from msdet.parsing import first_difference
from msdet.simulation.config import Record, SceneConfig
from msdet.simulation.folder_record import read_record
from msdet.simulation.rirs import METHOD, Rirs, compute_rirs
from msdet.simulation.rooms import Room, canonical, pool_room
from msdet.simulation.scene import ArrayRecord
from msdet.workers import progress_bar

_log = logging.getLogger(__name__)

BANK_NAME = "bank.json"
PYROOMACOUSTICS = version("pyroomacoustics")
"""Responses depend on it."""

_CHECKSUM, _LONGEST_HEADER = 8, 4096
"""Bytes of a file that the checksum takes, in hexadecimal, and that it and the header take."""
_ARRAYS, _NUMBERS = ("image", "direct", "noise", "drr_db"), ("delay", "sample_rate", "t60_measured")
"""The parts of responses, in the order in which files hold them."""


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
        try:
            rirs = _read(path)
        except FileNotFoundError:
            rirs = self._make(base, path)
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
        except (ValueError, KeyError, TypeError) as error:
            _log.warning("%s is damaged (%s) and is made again", path, error)
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

    def _path(self, base: Room) -> Path:
        shaped_by = {
            "method": METHOD,
            "pyroomacoustics": PYROOMACOUSTICS,
            "speed_of_sound": SPEED_OF_SOUND,
            "sample_rate": self.sample_rate,
            "array": self.array.positions,
            **base.acoustics(),
        }
        digest = hashlib.sha256(json.dumps(shaped_by, sort_keys=True).encode()).hexdigest()
        return self.directory / f"{digest[:32]}.rirs"

    def _missing(self, rooms: Iterable[Room]) -> dict[Path, Room]:
        """The rooms whose files are not there, or cut short, by these."""
        self._unfinished.remove_leftovers()
        wanted = {self._path(base): base for base, _ in (canonical(r, self.array) for r in rooms)}
        return {path: base for path, base in wanted.items() if not _is_whole(path)}

    def _make(self, base: Room, path: Path) -> Rirs:
        rirs = compute_rirs(base, self.array, self.sample_rate)
        temporary = self._unfinished.new()
        try:  # not `replacing`, which syncs each file and searches the folder for leftovers of it
            temporary.write_bytes(_encoded(rirs))
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


def fill_banks(
    wanted: Iterable[tuple[RirBank, Iterable[Room]]], num_workers: int = 1, progress: bool = True
) -> int:
    """:meth:`RirBank.fill` for the banks of several arrays, side by side.

    Threads, not processes: the work is done outside of Python's lock, and threads need no copies
    of the program in memory.

    Returns:
        How many were made.
    """
    missing = [(bank, *one) for bank, rooms in wanted for one in bank._missing(rooms).items()]
    if not missing:
        return 0
    random.Random(os.getpid()).shuffle(missing)  # processes that fill one bank share the work
    pool = ThreadPoolExecutor(max(1, num_workers))
    try:
        with progress_bar("room responses", disable=not progress) as bar:
            task = bar.add_task("", total=len(missing))
            made = [pool.submit(bank._make_file, base, path) for bank, path, base in missing]
            for one in as_completed(made):
                one.result()
                bar.advance(task)
    finally:
        pool.shutdown(cancel_futures=True)
    return len(missing)


def _encoded(rirs: Rirs) -> bytes:
    """A checksum of the rest, a line of JSON, then the responses as little-endian float32."""
    arrays = [getattr(rirs, name) for name in _ARRAYS]
    numbers = {name: getattr(rirs, name) for name in _NUMBERS}
    header = {"shapes": [array.shape for array in arrays], **numbers}
    body = b"".join(array.astype("<f4").tobytes() for array in arrays)
    rest = json.dumps(header).encode() + b"\n" + body
    return b"%08x" % zlib.crc32(rest) + rest


def _read(path: Path) -> Rirs:
    """Map responses into memory; what is written over or removed later stays as it was here."""
    with path.open("rb") as file:
        content = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    if zlib.crc32(content[_CHECKSUM:]) != int(bytes(content[:_CHECKSUM]), 16):
        raise ValueError("checksum differs")
    line, _, _ = bytes(content[_CHECKSUM:_LONGEST_HEADER]).partition(b"\n")
    header = json.loads(line)
    samples = np.frombuffer(content[_CHECKSUM + len(line) + 1 :], "<f4")
    shapes = header["shapes"]
    parts = np.split(samples, np.cumsum([np.prod(shape) for shape in shapes])[:-1])
    found: dict[str, Any] = {
        name: part.reshape(shape) for name, part, shape in zip(_ARRAYS, parts, shapes, strict=True)
    }
    return Rirs(**found, **{name: header[name] for name in _NUMBERS})


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


# --- banks that are made ahead ------------------------------------------------------------


@dataclass(frozen=True)
class RoomSet:
    """`count` rooms of a config and seed, from room `first` on; drawn when they are asked for."""

    scene: SceneConfig
    array: MicrophoneArray
    seed: int
    split: Split
    count: int
    first: int = 0

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Room:
        number = self.first + index
        return pool_room(
            self.scene, self.array, seed=self.seed, split=self.split, room_index=number
        )

    def __iter__(self) -> Iterator[Room]:
        return (self[index] for index in range(self.count))


class BankDescription(Record):
    """The content of ``bank.json``. `scene`: of its keys those count that shape rooms."""

    array: ArrayRecord
    sample_rate: int
    seed: int
    split: Split
    num_rooms: int
    scene: SceneConfig
    method: str = METHOD
    pyroomacoustics: str = PYROOMACOUSTICS

    def shaping(self) -> dict[str, Any]:
        """Return all that two banks must share for one to go on with the other."""
        keys = {"array", "sample_rate", "seed", "split"}
        return {**self.model_dump(mode="json", include=keys), "scene": shaping(self.scene)}


def open_bank(
    folder: str | Path, scene: SceneConfig, array: MicrophoneArray, sample_rate: int
) -> tuple[RoomSet, RirBank]:
    """Open the rooms of a bank, and their responses.

    Args:
        scene, array, sample_rate: what they are wanted for.
    Raises:
        InputError: the bank was made for something else; names what.
    """
    folder = Path(folder)
    key = f"data.bank={folder}"
    path = folder / BANK_NAME
    if not path.is_file():
        raise InputError(f"{key}: has no {BANK_NAME}; make a bank with msdet bank output={folder}")
    found = read_record(BankDescription, path)
    if found.sample_rate != sample_rate:
        raise InputError(f"{key}: was made for {found.sample_rate} Hz, sample_rate={sample_rate}")
    if found.array.positions != array.positions:
        raise InputError(
            f"{key}: was made for array {found.array.name!r} of {len(found.array.positions)} "
            f"microphones, not for {array.name!r} of {array.num_mics}"
        )
    if different := first_difference(shaping(found.scene), shaping(scene), where="scene"):
        raise InputError(f"{key}: {different} here; ask for the same, or make another")
    if (found.method, found.pyroomacoustics) != (METHOD, PYROOMACOUSTICS):
        _log.warning(
            "%s was made with another version (%s, pyroomacoustics %s): its responses are made "
            "again as they are needed",
            *(folder, found.method, found.pyroomacoustics),
        )
    rooms = RoomSet(scene, array, found.seed, found.split, found.num_rooms)
    return rooms, RirBank(folder, array, sample_rate)


def shaping(scene: SceneConfig) -> dict[str, Any]:
    """The keys of a scene config that rooms and their responses depend on, and their values."""
    keys = ("num_speakers", "room", "t60", "t60_per_octave", "rirs", "array", "speaker")
    moves = {"position", "rotation", "tilt"}
    wanted: Any = {**dict.fromkeys(keys, True), "imperfections": moves}
    found: dict[str, Any] = scene.model_dump(mode="json", include=wanted)
    points = "point" in scene.background.kinds
    found["background"] = {"kinds": "with point" if points else "without point"}
    if points:
        found["background"]["sources"] = list(scene.background.sources)
    return found
