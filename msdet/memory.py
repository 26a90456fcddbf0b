# SPDX-License-Identifier: Apache-2.0
"""Memory of this process tree: the most that was used, and an allocator that keeps pages."""

from __future__ import annotations

import ctypes
import os
import platform
import threading
from typing import Self

import psutil

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4


def keep_freed_pages() -> None:
    """Let glibc reuse freed memory instead of handing every large block back to the kernel.

    A training step on a CPU allocates the same hundreds of large tensors again and again; each
    fresh block costs a page fault per 4 KiB. What that is worth depends on how dear the machine's
    page faults are: ``scripts/bench_training.py`` found steps 1.01 to 1.16 times as fast (median
    1.13, three pairs of processes). Does nothing where the C library is not glibc. Call it before
    torch allocates anything.
    """
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # torch: large blocks on huge pages
    if platform.libc_ver()[0] != "glibc":
        return
    libc = ctypes.CDLL(None)
    libc.mallopt(_M_MMAP_MAX, 0)
    libc.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
    libc.mallopt(_M_TOP_PAD, 64 << 20)


class PeakMemory:
    """Samples the process tree's memory in the background: a context manager.

    PSS (shared pages counted once over the processes that share them) where the system tells it,
    else the sum of resident sizes.
    """

    def __init__(self, interval: float = 2.0) -> None:
        self.interval, self.peak_bytes = interval, 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    @property
    def peak_gb(self) -> float:
        """The largest sample so far, in 10^9 bytes."""
        return round(self.peak_bytes / 1e9, 3)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._sample()

    def _watch(self) -> None:
        while not self._stop.wait(self.interval):
            self._sample()

    def _sample(self) -> None:
        self.peak_bytes = max(self.peak_bytes, tree_bytes())


def tree_bytes() -> int:
    """Return the memory of this process and its descendants now, bytes."""
    me = psutil.Process()
    total = 0
    for process in [me, *me.children(recursive=True)]:
        try:
            total += getattr(process.memory_full_info(), "pss", 0) or process.memory_info().rss
        except psutil.Error:  # it ended meanwhile
            continue
    return total
