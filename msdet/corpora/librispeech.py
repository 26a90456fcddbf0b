# SPDX-License-Identifier: Apache-2.0
"""LibriSpeech (Panayotov et al., 2015) as a corpus: from a path, or downloaded by torchaudio."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from msdet.audio_files import find_audio
from msdet.corpora.cache import CACHE, cached_manifest
from msdet.corpora.corpus import Corpus, make_corpus
from msdet.corpora.listing import Recording, list_recordings, read_header
from msdet.corpora.utterance import SPLITS, Split, Utterance
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


class LibriSpeechConfig(BaseModel):
    """LibriSpeech; its subsets share no speaker, so they make the splits.

    Attributes:
        path: the folder that holds `LibriSpeech/`, or that folder itself.
        download: fetch missing subsets from openslr.org (train-clean-100: 6 GB).
        train, valid, test: subsets of each split.
        min_seconds: shorter files are left out.
        cache: folder of the list of files, made once and checked on every use.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Literal["librispeech"] = "librispeech"
    path: str
    download: bool = False
    train: tuple[Subset, ...] = Field(default=("train-clean-100",), min_length=1)
    valid: tuple[Subset, ...] = Field(default=("dev-clean",), min_length=1)
    test: tuple[Subset, ...] = Field(default=("test-clean",), min_length=1)
    min_seconds: float = Field(default=2.0, gt=0)
    cache: str = CACHE

    def subsets(self, split: Split) -> tuple[Subset, ...]:
        """The subsets of a split."""
        return {"train": self.train, "valid": self.valid, "test": self.test}[split]


def open_librispeech(config: LibriSpeechConfig, sample_rate: int) -> Corpus:
    """Open the subsets of a config, downloading what is missing where the config says so."""
    parent = Path(config.path).expanduser()
    root = parent if parent.name == "LibriSpeech" else parent / "LibriSpeech"
    for split in SPLITS:
        for subset in config.subsets(split):
            if not (root / subset).is_dir():
                if not config.download:
                    raise InputError(
                        f"corpus.path: {root / subset} does not exist; name the folder that holds"
                        " LibriSpeech/, or set corpus.download=true"
                    )
                _download(root.parent, subset)
    root = root.resolve()
    settings = config.model_dump_json(exclude={"cache", "path", "download"})
    rows = cached_manifest(
        config.cache, f"{root}\n{settings}", root, None, lambda: list_librispeech(config, root)
    )
    return make_corpus("librispeech", root, rows, sample_rate)


def list_librispeech(config: LibriSpeechConfig, root: Path) -> list[Utterance]:
    """The rows of the subsets of a config; the sexes come from ``SPEAKERS.TXT`` where it is."""
    sexes = read_sexes(root / "SPEAKERS.TXT")
    recordings: list[Recording] = []
    for split in SPLITS:
        for subset in config.subsets(split):
            files = find_audio(root / subset, (".flac",))
            if not files:
                raise InputError(f"{root / subset}: holds no .flac files; unpack the subset again")
            for path in files:
                speaker = path.stem.split("-")[0]
                recordings.append(
                    Recording(
                        path=path.relative_to(root).as_posix(),
                        speaker=speaker,
                        split=split,
                        id=path.stem,
                        sex=sexes.get(speaker),
                        language="en",
                    )
                )
    # Headers only: to decode a hundred hours of FLAC takes more than a minute.
    return list_recordings(root, recordings, config.min_seconds, read_header)


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


def _download(parent: Path, subset: Subset) -> None:
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
