# SPDX-License-Identifier: Apache-2.0
"""WSJ0 (Garofolo et al., CSR-I, LDC93S6A) as a corpus: the speech of the first microphone, wherever
its subsets lie on the discs, as SPHERE files or converted."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from msdet.audio_files import walk
from msdet.corpora.listing import SpeechFile, SplitsConfig
from msdet.corpora.utterance import Split
from msdet.errors import InputError

SUFFIXES = (".wav", ".sph", ".wv1")
"""The first of these is taken of an utterance that is there several times: who keeps a converted
file beside the original keeps it because the original cannot be read."""

_HEADER_BYTES = 4096
"""Holds the header of a SPHERE file: 1024 bytes on the discs, a multiple of that elsewhere."""


class WSJ0Config(SplitsConfig):
    """WSJ0 (LDC93S6A); its subsets share no speaker, so they make the splits.

    Attributes:
        path: a folder that holds the subsets at any depth, such as that of the discs.
        train, valid, test: folders of each split, in letters of any case.
    """

    wanted: ClassVar[str] = "a folder that holds WSJ0's discs or its subsets"

    name: Literal["wsj0"] = "wsj0"
    train: tuple[str, ...] = Field(default=("si_tr_s",), min_length=1)
    valid: tuple[str, ...] = Field(default=("si_dt_05",), min_length=1)
    test: tuple[str, ...] = Field(default=("si_et_05",), min_length=1)

    def speech(self, root: Path) -> list[SpeechFile]:
        """Find each utterance of the subsets once, in the order of speakers and names; in letters
        of any case and on any number of discs."""
        split_of: dict[str, Split] = {}
        for split, subset in self.parts():
            first = split_of.setdefault(subset.lower(), split)
            if first != split:
                raise InputError(f"corpus.{split}: {subset} is in corpus.{first} already")
        found: dict[tuple[str, str], tuple[int, SpeechFile]] = {}
        empty = dict(split_of)
        for path in walk(root, SUFFIXES):
            # Converted files may be called 011a0101.wv1.wav, of the second microphone .wv2.wav.
            if ".wv2" in path.name.lower():
                continue
            folders = [part.lower() for part in path.parts[:-1]]
            depth = next((n for n, folder in enumerate(folders) if folder in split_of), None)
            if depth is None:
                continue
            if depth + 1 == len(folders):
                raise InputError(
                    f"{root / path}: lies in no speaker's folder;"
                    f" {folders[depth]}/011/{path.name} was expected"
                )
            empty.pop(folders[depth], None)
            speaker, split = folders[depth + 1], split_of[folders[depth]]
            id = f"{speaker}/{path.name.split('.')[0].lower()}"
            rank = SUFFIXES.index(path.suffix.lower())
            key = (id, split)  # told apart by split too, so that a speaker in two is noticed
            if key not in found or rank < found[key][0]:
                found[key] = (rank, SpeechFile(path.as_posix(), speaker, split, id=id))
        for subset, split in empty.items():
            raise InputError(
                f"corpus.{split}: no {' '.join(SUFFIXES)} file lies below a folder {subset}"
                f" anywhere in {root}"
            )
        return [found[key][1] for key in sorted(found)]

    def inspect(self, path: Path) -> tuple[float, int]:
        """Inspect a file that is not compressed."""
        refuse_compressed(path)
        return super().inspect(path)


def refuse_compressed(path: Path) -> None:
    """Raise ``InputError`` for a SPHERE file whose samples are compressed, as on LDC's discs.

    Its header says so (``sample_coding -s26 pcm,embedded-shorten-v2.00``); libsndfile reads what
    is not compressed and for the rest gives no reason.
    """
    try:
        with path.open("rb") as file:
            header = file.read(_HEADER_BYTES)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    if not header.startswith(b"NIST_1A"):
        return
    for line in header.partition(b"\nend_head")[0].decode("latin-1").split("\n"):
        if line.startswith("sample_coding ") and "embedded-" in line:
            raise InputError(
                f"{path}: its samples are compressed ({line.split()[-1]}); convert the corpus with"
                " LDC's sph2pipe, such as `sph2pipe -p -f wav 011a0101.wv1 011a0101.wav`"
            )
