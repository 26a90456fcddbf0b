# SPDX-License-Identifier: Apache-2.0
"""From files of speech found on disk to the rows of a manifest, which is made once and kept in the
user's cache: lengths are read, bad audio is named, speakers in two splits are refused."""

from __future__ import annotations

import hashlib
import logging
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from msdet.audio_files import reading
from msdet.corpora.corpus import FULL_BAND_HZ, Corpus, make_corpus
from msdet.corpora.utterance import (
    SPLITS,
    Split,
    Utterance,
    check_files,
    read_manifest,
    write_manifest,
)
from msdet.errors import InputError
from msdet.files import user_cache

log = logging.getLogger(__name__)

CACHE = "~/.cache/msdet/manifests"
"""Default folder of the manifests; in the user's cache folder wherever that is."""

_MANY_FILES = 5000
"""So many take a minute to read, and nothing else is on the screen meanwhile."""


@dataclass(frozen=True)
class SpeechFile:
    """A file of speech as a corpus names it, before it is opened."""

    path: str
    """Relative to the corpus root, with forward slashes."""
    speaker: str
    split: Split
    id: str | None = None
    """``None``: the path without its suffix."""


class ListedConfig(BaseModel, ABC):
    """A corpus that brings no manifest: its files are found, listed once, and checked on every use.

    Attributes:
        min_seconds: shorter files are left out.
        cache: folder of the list of files, made once and checked on every use.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    wanted: ClassVar[str]
    """The folder that `path` should name, for messages."""
    grows: ClassVar[bool] = True
    """Files that came after it was listed are looked for."""

    name: str
    path: str
    min_seconds: float = Field(default=2.0, gt=0)
    cache: str = CACHE

    def root(self) -> Path:
        """Return the folder that all paths start from."""
        root = Path(self.path).expanduser()
        if not root.is_dir():
            what = "is a file" if root.exists() else "does not exist"
            raise InputError(f"corpus.path: {root} {what}; name {self.wanted}")
        return root.resolve()

    @abstractmethod
    def speech(self, root: Path) -> list[SpeechFile]:
        """Find the files, in the order of the manifest."""

    def content(self, root: Path) -> str:
        """Return what the manifest depends on besides the settings."""
        return ""

    def inspect(self, path: Path) -> tuple[float, int]:
        """Return a file's seconds and sample rate; see that it is speech."""
        return inspect_audio(path)

    def listed(self, root: Path) -> list[Utterance]:
        """Make the rows of the manifest."""
        return list_files(root, self.speech(root), self.min_seconds, self.inspect)

    def open(self, sample_rate: int) -> Corpus:
        """Open by the manifest of these settings, which is built where there is none yet."""
        root = self.root()
        settings = self.model_dump_json(exclude={"cache", "path", "download"})
        content = f"{root}\n{settings}{self.content(root)}"
        key = hashlib.sha256(content.encode()).hexdigest()[:16]
        cached = self.cache == CACHE
        folder = user_cache("manifests") if cached else Path(self.cache).expanduser()
        path = folder / f"{key}.jsonl"
        if path.is_file():
            rows = read_manifest(path)
            self._notice_changes(root, path, rows)
            return make_corpus(self.name, root, rows, sample_rate)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            rows = tuple(self.listed(root))
            write_manifest(path, rows)
        except OSError as error:
            raise InputError(f"corpus.cache: {path} cannot be written ({error.strerror})") from None
        return make_corpus(self.name, root, rows, sample_rate)

    def _notice_changes(self, root: Path, path: Path, rows: Sequence[Utterance]) -> None:
        try:
            check_files(root, rows)
        except InputError as error:
            raise InputError(f"{error}; delete {path} to have the corpus listed again") from None
        if self.grows:
            newest, files = path.stat().st_mtime, self.speech(root)
            new = sum((root / file.path).stat().st_ctime > newest for file in files)
            if new:
                log.warning(
                    "%s: %d files are newer than %s; delete it to list them", root, new, path
                )


class SplitsConfig(ListedConfig):
    """A corpus whose parts make the splits: subsets, folders or lists, at least one each."""

    train: tuple[str, ...] = Field(min_length=1)
    valid: tuple[str, ...] = Field(min_length=1)
    test: tuple[str, ...] = Field(min_length=1)

    def parts(self) -> Iterator[tuple[Split, str]]:
        """Each split with each of its parts."""
        return ((split, part) for split in SPLITS for part in getattr(self, split))


def inspect_audio(path: Path) -> tuple[float, int]:
    """Seconds and sample rate; ``InputError`` for what cannot be read, is silent or not finite."""
    import soundfile

    with reading(path), soundfile.SoundFile(path) as file:
        loudest = 0.0
        for block in file.blocks(blocksize=2**18, dtype="float32", always_2d=True):
            peak = float(np.max(np.abs(block[:, 0]), initial=0.0))
            if not np.isfinite(peak):
                raise InputError(f"{path}: holds NaN or infinite samples")
            loudest = max(loudest, peak)
        frames, rate = file.tell(), file.samplerate
    if frames and loudest == 0.0:
        raise InputError(f"{path}: is silent (every sample is zero)")
    return frames / rate, rate


def read_header(path: Path) -> tuple[float, int]:
    """Seconds and sample rate as the header says, ten times faster than ``inspect_audio``."""
    import soundfile

    with reading(path):
        info = soundfile.info(path)
    return info.frames / info.samplerate, info.samplerate


def list_files(
    root: Path,
    files: Sequence[SpeechFile],
    min_seconds: float,
    inspect: Callable[[Path], tuple[float, int]] = inspect_audio,
) -> list[Utterance]:
    """The rows of the files that are long enough, in their order.

    ``inspect`` gives a file's seconds and sample rate.
    Raises ``InputError`` naming a speaker in two splits or the first file that is not speech.
    """
    first_of: dict[str, SpeechFile] = {}
    for file in files:
        first = first_of.setdefault(file.speaker, file)
        if first.split != file.split:
            raise InputError(
                f"{root}: speaker {file.speaker!r} is in {first.split} ({first.path}) and in"
                f" {file.split} ({file.path}); splits must share no speaker"
            )
    if len(files) > _MANY_FILES:
        log.warning("%s: reading %d files to list them, once", root, len(files))
    rows: list[Utterance] = []
    for file in files:
        path = root / file.path
        duration, rate = inspect(path)
        if duration < min_seconds:
            continue
        rows.append(
            Utterance(
                id=file.id or Path(file.path).with_suffix("").as_posix(),
                speaker=file.speaker,
                split=file.split,
                path=file.path,
                duration=duration,
                sample_rate=rate,
                bandwidth_hz=min(rate // 2, FULL_BAND_HZ),
                num_bytes=path.stat().st_size,
            )
        )
    too_short = len(files) - len(rows)
    if too_short and not rows:
        raise InputError(
            f"corpus.min_seconds: all {too_short} files of {root} are shorter than"
            f" {min_seconds:g} s"
        )
    if too_short:
        log.warning(
            "%s: %d of %d files skipped, shorter than min_seconds = %g",
            *(root, too_short, len(files), min_seconds),
        )
    count = Counter(row.id for row in rows)
    # Without suffix, unless two files differ in nothing else.
    return [u if count[u.id] == 1 else u.model_copy(update={"id": u.path}) for u in rows]
