# SPDX-License-Identifier: Apache-2.0
"""LibriSpeech (Panayotov et al., 2015) as a corpus: from a path, or downloaded by torchaudio."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Literal

from pydantic import Field

from msdet.audio_files import find_audio
from msdet.corpora.corpus import Corpus
from msdet.corpora.listing import SpeechFile, SplitsConfig, list_files, open_listed, read_header
from msdet.corpora.utterance import Utterance
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

    name: Literal["librispeech"] = "librispeech"
    download: bool = False
    train: tuple[Subset, ...] = Field(default=("train-clean-100",), min_length=1)
    valid: tuple[Subset, ...] = Field(default=("dev-clean",), min_length=1)
    test: tuple[Subset, ...] = Field(default=("test-clean",), min_length=1)


def open_librispeech(config: LibriSpeechConfig, sample_rate: int) -> Corpus:
    """Open the subsets of a config, downloading what is missing where the config says so."""
    parent = Path(config.path).expanduser()
    root = parent if parent.name == "LibriSpeech" else parent / "LibriSpeech"
    for _, subset in config.parts():
        if not (root / subset).is_dir():
            if not config.download:
                raise InputError(
                    f"corpus.path: {root / subset} does not exist; name the folder that holds"
                    " LibriSpeech/, or set corpus.download=true"
                )
            _download(root.parent, subset)
    root = root.resolve()
    return open_listed(config, root, sample_rate, None, lambda: list_librispeech(config, root))


def list_librispeech(config: LibriSpeechConfig, root: Path) -> list[Utterance]:
    """The rows of the subsets of a config; the sexes come from ``SPEAKERS.TXT`` where it is."""
    sexes = read_sexes(root / "SPEAKERS.TXT")
    speech: list[SpeechFile] = []
    for split, subset in config.parts():
        files = find_audio(root / subset, (".flac",))
        if not files:
            raise InputError(f"{root / subset}: holds no .flac files; unpack the subset again")
        for path in files:
            name, speaker = path.relative_to(root).as_posix(), path.stem.split("-")[0]
            sex = sexes.get(speaker)
            speech.append(SpeechFile(name, speaker, split, id=path.stem, sex=sex, language="en"))
    # Headers only: to decode a hundred hours of FLAC takes more than a minute.
    return list_files(root, speech, config.min_seconds, read_header)


def read_sexes(path: Path) -> dict[str, Literal["F", "M"]]:
    """Speaker id to sex from LibriSpeech's ``SPEAKERS.TXT`` (``14 | F | train-clean-360 | …``)."""
    if not path.is_file():
        return {}
    sexes: dict[str, Literal["F", "M"]] = {}
    for line in path.read_text(encoding="utf-8-sig", errors="replace").splitlines():
        fields = [field.strip() for field in line.split("|")]
        if not line.startswith(";") and len(fields) > 1 and fields[1] in ("F", "M"):
            sexes[fields[0]] = "F" if fields[1] == "F" else "M"
    return sexes


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
