# SPDX-License-Identifier: Apache-2.0
"""The disk that uploads and results may take together: the oldest make room for the new."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from msdet.errors import InputError


class Storage:
    """The folder of a page: gradio's uploads, each in a folder of its own, and the results.

    Args:
        folder: where gradio keeps uploads. max_megabytes: of all files in it.
    """

    def __init__(self, folder: Path, max_megabytes: float) -> None:
        self.folder, self.results = folder, folder / "results"
        self.results.mkdir()
        self._max_megabytes = max_megabytes
        self._arriving = 0
        self._held: list[Path] = []
        self._lock = threading.Lock()

    @contextmanager
    def arriving(self, size: int) -> Iterator[None]:
        """Keep room for an upload while it comes.

        Args:
            size: bytes.
        Raises:
            InputError: all that may be deleted would not make room for it.
        """
        with self._lock:
            if self._clean(size) > 0:
                raise InputError(
                    f"there is no room for this upload of {size / 1e6:.1f} MB: the page keeps at "
                    f"most {self._max_megabytes:g} MB (max_stored_megabytes), and what is in use "
                    "stays; try again later"
                )
            self._arriving += size
        try:
            yield
        finally:
            with self._lock:
                self._arriving -= size

    @contextmanager
    def held(self, *paths: Path) -> Iterator[None]:
        """Keep an upload and a result while a job works on them; make room for them afterwards."""
        with self._lock:
            self._held.extend(paths)
        try:
            yield
        finally:
            with self._lock:
                for path in paths:
                    self._held.remove(path)
                self._clean(0)

    def _clean(self, needed: int) -> float:
        """Delete the oldest until so many bytes more fit; return how many are still missing."""
        folders = [path for path in self.folder.iterdir() if path.is_dir() and path != self.results]
        if not self._arriving:  # else these are uploads in the middle, which have their room
            for left in self.folder.iterdir():
                if left.is_file():
                    left.unlink(missing_ok=True)
        sizes = {path: _size(path) for path in (*folders, *self.results.iterdir())}
        excess = sum(sizes.values()) + self._arriving + needed - 1e6 * self._max_megabytes
        for path in sorted(sizes, key=lambda path: path.stat().st_mtime):
            if excess <= 0:
                break
            if sizes[path] and not any(held.is_relative_to(path) for held in self._held):
                shutil.rmtree(path, ignore_errors=True)
                excess -= sizes[path]
        return excess


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
