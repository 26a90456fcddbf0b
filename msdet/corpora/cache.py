# SPDX-License-Identifier: Apache-2.0
"""Manifests of corpora that bring none: built once, kept in the user's cache, checked on use."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from msdet.corpora.utterance import Utterance, check_files, read_manifest, write_manifest
from msdet.errors import InputError
from msdet.files import user_cache

log = logging.getLogger(__name__)

CACHE = "~/.cache/msdet/manifests"
"""Default folder of the manifests; in the user's cache folder wherever that is."""


def cached_manifest(
    cache: str,
    key: str,
    root: Path,
    files: Sequence[Path] | None,
    build: Callable[[], list[Utterance]],
) -> tuple[Utterance, ...]:
    """The manifest that belongs to ``key`` (root and settings), built where there is none yet.

    ``files`` are the audio files that lie there now, to notice ones that came later.
    """
    folder = user_cache("manifests") if cache == CACHE else Path(cache).expanduser()
    path = folder / f"{hashlib.sha256(key.encode()).hexdigest()[:16]}.jsonl"
    if path.is_file():
        rows = read_manifest(path)
        try:
            check_files(root, rows)
        except InputError as error:
            raise InputError(f"{error}; delete {path} to have the corpus listed again") from None
        newest = path.stat().st_mtime
        new = sum(file.stat().st_ctime > newest for file in files or ())
        if new:
            log.warning("%s: %d files are newer than %s; delete it to list them", root, new, path)
        return rows
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"corpus.cache: {folder} cannot be written ({error.strerror})") from None
    rows = tuple(build())
    try:
        write_manifest(path, rows)
    except OSError as error:
        raise InputError(f"corpus.cache: {path} cannot be written ({error.strerror})") from None
    return rows
