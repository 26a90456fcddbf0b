# SPDX-License-Identifier: Apache-2.0
"""Any folder of recordings as a corpus: each sub-folder is a speaker; or a folder that brings its
own manifest, as scripts/build_voices.py --full writes."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from msdet.corpora.cache import CACHE, cached_manifest
from msdet.corpora.corpus import FULL_BAND_HZ, Corpus, make_corpus
from msdet.corpora.utterance import MANIFEST, Split, Utterance, check_files, read_manifest
from msdet.errors import InputError

log = logging.getLogger(__name__)

AUDIO_SUFFIXES = (".wav", ".flac", ".ogg", ".opus", ".mp3")
MIN_SPEAKERS_PER_SPLIT = 2
"""A mixture needs two people."""


class FolderConfig(BaseModel):
    """A folder of audio, one sub-folder per speaker (files may lie deeper inside it)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Literal["folder"] = "folder"
    path: str
    valid_speakers: float = Field(default=0.1, gt=0, lt=0.5)
    """Share of the speakers that are kept for validation."""
    test_speakers: float = Field(default=0.1, gt=0, lt=0.5)
    min_seconds: float = Field(default=1.0, gt=0)
    """Shorter files are skipped."""
    seed: int = 0
    """Divides the speakers; the same names and seed give the same splits on every machine."""
    cache: str = CACHE


def open_folder(config: FolderConfig, sample_rate: int) -> Corpus:
    """Open by the folder's own manifest, else by one that is built once and kept in the cache."""
    root = Path(config.path).expanduser()
    if not root.is_dir():
        what = "is a file" if root.exists() else "does not exist"
        raise InputError(f"corpus.path: {root} {what}; name a folder with a sub-folder per speaker")
    root = root.resolve()
    if (root / MANIFEST).is_file():
        rows = read_manifest(root / MANIFEST)
        check_files(root, rows)
    else:
        files = find_audio(root)
        settings = config.model_dump_json(exclude={"cache", "path"})
        rows = cached_manifest(
            config.cache,
            f"{root}\n{settings}",
            root,
            files,
            lambda: list_folder(config, root, files),
        )
    return make_corpus("folder", root, rows, sample_rate)


def find_audio(root: Path) -> list[Path]:
    """Audio files below the sub-folders of ``root``, in the order of their names."""
    return sorted(
        path
        for folder in root.iterdir()
        if folder.is_dir() and not folder.name.startswith(".")
        for path in folder.rglob("*")
        if path.suffix.lower() in AUDIO_SUFFIXES and path.is_file()
    )


def list_folder(config: FolderConfig, root: Path, files: Sequence[Path]) -> list[Utterance]:
    """The rows of a folder: headers are read, and every file is checked for silence and NaN."""
    if not files:
        raise InputError(
            f"{root}: no audio ({' '.join(AUDIO_SUFFIXES)}) in its sub-folders;"
            " each speaker's files must lie in a sub-folder of their own"
        )
    found: list[Utterance] = []
    too_short = 0
    for path in files:
        duration, rate = inspect_audio(path)
        if duration < config.min_seconds:
            too_short += 1
            continue
        inside = path.relative_to(root)
        found.append(
            Utterance(
                id=inside.with_suffix("").as_posix(),
                speaker=inside.parts[0],
                split="train",  # until the speakers are known
                path=inside.as_posix(),
                duration=duration,
                sample_rate=rate,
                bandwidth_hz=min(rate // 2, FULL_BAND_HZ),
                num_bytes=path.stat().st_size,
            )
        )
    if too_short:
        log.warning(
            "%s: %d of %d files skipped, shorter than min_seconds = %g",
            *(root, too_short, len(files), config.min_seconds),
        )
    split_of = divide_speakers(config, root, sorted({u.speaker for u in found}))
    return [u.model_copy(update={"split": split_of[u.speaker]}) for u in _unique_ids(found)]


def divide_speakers(config: FolderConfig, root: Path, speakers: Sequence[str]) -> dict[str, Split]:
    """Splits by a seeded hash of the names, so that neither order nor machine matters."""
    counts: dict[Split, int] = {
        "test": max(MIN_SPEAKERS_PER_SPLIT, round(config.test_speakers * len(speakers))),
        "valid": max(MIN_SPEAKERS_PER_SPLIT, round(config.valid_speakers * len(speakers))),
    }
    train = len(speakers) - sum(counts.values())
    if train < MIN_SPEAKERS_PER_SPLIT:
        raise InputError(
            f"{root}: {len(speakers)} speakers with files of at least {config.min_seconds:g} s;"
            f" train, valid and test need {MIN_SPEAKERS_PER_SPLIT} speakers each"
        )
    shuffled = sorted(
        speakers, key=lambda name: hashlib.sha256(f"{config.seed}/{name}".encode()).digest()
    )
    counts["train"] = train
    names = [split for split, count in counts.items() for _ in range(count)]
    return dict(zip(shuffled, names, strict=True))


def inspect_audio(path: Path) -> tuple[float, int]:
    """Seconds and sample rate; ``InputError`` for what cannot be read, is silent or not finite."""
    import soundfile

    try:
        with soundfile.SoundFile(path) as file:
            loudest = 0.0
            for block in file.blocks(blocksize=2**18, dtype="float32", always_2d=True):
                peak = float(np.max(np.abs(block[:, 0]), initial=0.0))
                if not np.isfinite(peak):
                    raise InputError(f"{path}: holds NaN or infinite samples")
                loudest = max(loudest, peak)
            frames, rate = file.tell(), file.samplerate
    except (soundfile.LibsndfileError, OSError) as error:
        raise InputError(f"{path}: cannot be read as audio ({error})") from None
    if frames and loudest == 0.0:
        raise InputError(f"{path}: is silent (every sample is zero)")
    return frames / rate, rate


def _unique_ids(found: Sequence[Utterance]) -> list[Utterance]:
    """Ids without suffix, unless two files differ in nothing else."""
    count: dict[str, int] = {}
    for u in found:
        count[u.id] = count.get(u.id, 0) + 1
    return [u if count[u.id] == 1 else u.model_copy(update={"id": u.path}) for u in found]
