# SPDX-License-Identifier: Apache-2.0
"""A corpus that CSV lists describe, as LibriMix (Cosentino et al., 2020) publishes them: which
files belong to which split, and who speaks in them."""

from __future__ import annotations

import csv
import hashlib
import io
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar, Literal

from msdet.corpora.listing import SpeechFile, SplitsConfig
from msdet.corpora.utterance import SPLITS, Split
from msdet.errors import InputError


class MetadataConfig(SplitsConfig):
    """Files that CSV lists name, as LibriMix's metadata does; the splits must share no speaker.

    Attributes:
        path: the folder that the paths in the lists start from, such as `LibriSpeech`.
        train, valid, test: CSV files of each split, [list.csv], relative to `path` or by full
            paths.
    """

    wanted: ClassVar[str] = "the folder that the paths in the lists start from"
    grows: ClassVar[bool] = False

    name: Literal["metadata"] = "metadata"

    def texts(self, root: Path) -> dict[Split, list[tuple[Path, str]]]:
        """Read the lists, ``(path, text)`` of each split."""
        texts: dict[Split, list[tuple[Path, str]]] = {split: [] for split in SPLITS}
        for split, name in self.parts():
            texts[split].append(_read(root / Path(name).expanduser(), split))
        return texts

    def content(self, root: Path) -> str:
        """Identify what the lists hold: one that changed is read again."""
        return "\n" + hashlib.sha256(repr(self.texts(root)).encode()).hexdigest()

    def speech(self, root: Path) -> list[SpeechFile]:
        """Find the files of the lists; one counts once in its split."""
        speech: list[SpeechFile] = []
        for split, lists in self.texts(root).items():
            found: dict[str, SpeechFile] = {}
            for path, text in lists:
                for place, file, speaker in read_list(path, text):
                    inside = _inside(root, file, place)
                    if inside not in found and not (root / inside).is_file():
                        raise InputError(f"{place}: {root / inside}: the audio file is missing")
                    first = found.setdefault(inside, SpeechFile(inside, speaker, split))
                    if first.speaker != speaker:
                        raise InputError(
                            f"{place}: {inside} is of speaker {speaker!r},"
                            f" an earlier line says {first.speaker!r}"
                        )
            if not found:
                names = ", ".join(str(path) for path, _ in lists)
                raise InputError(f"corpus.{split}: no file is listed in {names}")
            speech += found.values()
        return speech


def read_list(path: Path, text: str) -> Iterator[tuple[str, str, str]]:
    """Yield place (list and line), file and speaker of each entry of a list of utterances or of
    mixtures, told apart by their columns.

    Raises ``InputError`` naming the list, and the line where it is one.
    """
    # Strict: an open quote is an error, not one cell that takes in the rest of the file.
    rows = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        columns = list(rows.fieldnames or ())
        sources = [name for name in columns if re.fullmatch(r"source_\d+_path", name)]
        utterances = {"speaker_ID", "origin_path"} <= set(columns)
        if not utterances and not sources:
            raise InputError(
                f"{path}: has the columns {', '.join(columns) or '(none)'}; expected speaker_ID and"
                " origin_path (a list of utterances), or source_1_path, source_2_path, ..."
                " (a list of mixtures)"
            )
        for row in rows:
            place = f"{path}, line {rows.line_num}"
            for column in ["speaker_ID", "origin_path"] if utterances else sources:
                if not row[column]:
                    raise InputError(f"{place}: {column} is empty")
            if utterances:
                yield place, row["origin_path"], row["speaker_ID"]
            else:
                for column in sources:
                    yield place, row[column], _speaker_in_name(row[column], place)
    except csv.Error as error:
        raise InputError(f"{path}, line {rows.line_num}: not CSV ({error})") from None


def _read(path: Path, split: Split) -> tuple[Path, str]:
    try:
        return path, path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise InputError(
            f"corpus.{split}: {path} does not exist; give a list by its full path or relative to"
            " corpus.path"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"corpus.{split}: {path} cannot be read as text ({error})") from None


def _inside(root: Path, file: str, place: str) -> str:
    """A listed file's path relative to the root, with forward slashes."""
    path = Path(os.path.normpath(root / file))
    if not path.is_relative_to(root):
        # The root has its links resolved, a full path in a list may go through one of them.
        path = path.parent.resolve() / path.name
    if not path.is_relative_to(root):
        raise InputError(f"{place}: {file} lies outside corpus.path, {root}")
    return path.relative_to(root).as_posix()


def _speaker_in_name(file: str, place: str) -> str:
    """``1089`` from ``test-clean/1089/134691/1089-134691-0018.flac``, LibriSpeech's naming."""
    match = re.fullmatch(r"([^-_]+)(-[^-_]+)+", Path(file).stem)
    if not match:
        # LibriMix calls both sources of a mixture 1089-134691-0018_61-70970-0030.wav.
        raise InputError(
            f"{place}: the speaker cannot be told from {Path(file).name}; speaker-chapter-number"
            " was expected, as in the lists of LibriMix's metadata folder (not in those that it"
            " writes beside the mixtures)"
        )
    return match[1]
