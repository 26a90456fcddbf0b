# SPDX-License-Identifier: Apache-2.0
"""LibriSpeech (Panayotov et al., 2015) as a corpus: from a path, or downloaded by torchaudio."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from msdet.audio_files import find_audio
from msdet.corpora.listing import SpeechFile, SplitsConfig, read_header
from msdet.errors import InputError

log = logging.getLogger(__name__)

Subset = Literal[
    "train-clean-100",
    "train-clean-360",
    "train-other-500",
    "dev-clean",
    "dev-other",
    "test-clean",
    "test-other",
]


class LibriSpeechConfig(SplitsConfig):
    """LibriSpeech; its subsets share no speaker, so they make the splits.

    Attributes:
        path: the folder that holds `LibriSpeech/`, or that folder itself.
        download: fetch missing subsets from openslr.org (train-clean-100: 6 GB).
        train, valid, test: subsets of each split.
    """

    grows: ClassVar[bool] = False

    name: Literal["librispeech"] = "librispeech"
    download: bool = False
    train: tuple[Subset, ...] = Field(default=("train-clean-100",), min_length=1)
    valid: tuple[Subset, ...] = Field(default=("dev-clean",), min_length=1)
    test: tuple[Subset, ...] = Field(default=("test-clean",), min_length=1)

    def root(self) -> Path:
        """Return ``LibriSpeech/``; what it lacks is downloaded where the config says so."""
        parent = Path(self.path).expanduser()
        root = parent if parent.name == "LibriSpeech" else parent / "LibriSpeech"
        for _, subset in self.parts():
            if not (root / subset).is_dir():
                if not self.download:
                    raise InputError(
                        f"corpus.path: {root / subset} does not exist; name the folder that holds"
                        " LibriSpeech/, or set corpus.download=true"
                    )
                _download(root.parent, subset)
        return root.resolve()

    def speech(self, root: Path) -> list[SpeechFile]:
        """Find the files of the subsets."""
        speech: list[SpeechFile] = []
        for split, subset in self.parts():
            files = find_audio(root / subset, (".flac",))
            if not files:
                raise InputError(f"{root / subset}: holds no .flac files; unpack the subset again")
            for path in files:
                name, speaker = path.relative_to(root).as_posix(), path.stem.split("-")[0]
                speech.append(SpeechFile(name, speaker, split, id=path.stem))
        return speech

    def inspect(self, path: Path) -> tuple[float, int]:
        """Read the header only: to decode a hundred hours of FLAC takes more than a minute."""
        return read_header(path)


def _download(parent: Path, subset: str) -> None:
    from torchaudio.datasets import LIBRISPEECH

    log.warning("downloading LibriSpeech %s to %s", subset, parent)
    try:
        parent.mkdir(parents=True, exist_ok=True)
        LIBRISPEECH(parent, url=subset, download=True)
    except (OSError, RuntimeError, EOFError) as error:
        words = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"LibriSpeech {subset} could not be downloaded to {parent} ({words});"
            " download it by hand from openslr.org/12"
        ) from None
