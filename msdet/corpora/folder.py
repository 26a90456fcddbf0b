# SPDX-License-Identifier: Apache-2.0
"""Folders as corpora: any whose sub-folders are speakers, those that bring their own manifest, as
scripts/build_voices.py --full writes, and the voices that come with msdet."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from msdet.audio_files import AUDIO_SUFFIXES, find_audio
from msdet.corpora.corpus import Corpus, make_corpus
from msdet.corpora.listing import ListedConfig, SpeechFile
from msdet.corpora.utterance import MANIFEST, Split, Utterance, check_files, read_manifest
from msdet.errors import InputError
from msdet.resources import voices_dir

MIN_SPEAKERS_PER_SPLIT = 2
"""A mixture needs two people."""


class BundledConfig(BaseModel):
    """The voices that come with the project; at sample rates above 8 kHz, those whose recordings
    reach up to 8 kHz."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Literal["bundled"] = "bundled"

    def open(self, sample_rate: int) -> Corpus:
        """Open the bundled voices."""
        try:
            return open_manifest("bundled", voices_dir(), sample_rate)
        except InputError as error:
            mend = "install msdet again or run scripts/build_voices.py"
            raise InputError(f"{error}; {mend}") from None


class SpeakerFoldersConfig(ListedConfig):
    """Any folder of audio files; each sub-folder is a speaker, with files anywhere below it.

    Attributes:
        path: the folder; hidden ones below it are passed over.
        valid_speakers, test_speakers: share of the speakers kept for this split, at least two each.
        seed: of the division into splits: the same names and seed give the same splits on every
            machine.
    """

    valid_speakers: float = Field(default=0.1, gt=0, lt=0.5)
    test_speakers: float = Field(default=0.1, gt=0, lt=0.5)
    min_seconds: float = Field(default=1.0, gt=0)
    seed: int = 0

    def audio(self, root: Path) -> list[Path]:
        """Return audio files below the sub-folders of ``root``, in the order of their names."""
        return [path for path in find_audio(root) if path.parent != root]

    def speech(self, root: Path) -> list[SpeechFile]:
        """Find the files of all speakers, whose splits `listed` sets."""
        files = [path.relative_to(root) for path in self.audio(root)]
        if not files:
            raise InputError(
                f"{root}: no audio ({' '.join(AUDIO_SUFFIXES)}) in its sub-folders;"
                " each speaker's files must lie in a sub-folder of their own"
            )
        return [SpeechFile(path.as_posix(), path.parts[0], "train") for path in files]

    def listed(self, root: Path) -> list[Utterance]:
        """Divide those whose files are long enough."""
        rows = super().listed(root)
        split_of = divide_speakers(self, root, sorted({u.speaker for u in rows}))
        return [u.model_copy(update={"split": split_of[u.speaker]}) for u in rows]


class FolderConfig(SpeakerFoldersConfig):
    """A folder of audio, one sub-folder per speaker (files may lie deeper inside it)."""

    wanted: ClassVar[str] = "a folder with a sub-folder per speaker"

    name: Literal["folder"] = "folder"

    def open(self, sample_rate: int) -> Corpus:
        """Open by the folder's own manifest, else by one that is built once and kept."""
        root = self.root()
        if (root / MANIFEST).is_file():
            return open_manifest(self.name, root, sample_rate)
        return super().open(sample_rate)


def open_manifest(name: str, root: Path, sample_rate: int) -> Corpus:
    """Open a folder that brings its own manifest, whose files must be what it says."""
    rows = read_manifest(root / MANIFEST)
    check_files(root, rows)
    return make_corpus(name, root, rows, sample_rate)


def divide_speakers(
    config: SpeakerFoldersConfig, root: Path, speakers: Sequence[str]
) -> dict[str, Split]:
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
