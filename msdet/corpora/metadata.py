# SPDX-License-Identifier: Apache-2.0
"""A corpus that CSV lists describe, as LibriMix (Cosentino et al., 2020) publishes them: which
files belong to which split, and who speaks in them."""

from __future__ import annotations

import csv
import hashlib
import io
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from msdet.corpora.corpus import Corpus
from msdet.corpora.listing import SpeechFile, SplitsConfig, corpus_root, list_files, open_listed
from msdet.corpora.utterance import SPLITS, Split, Utterance
from msdet.errors import InputError


class MetadataConfig(SplitsConfig):
    """Files that CSV lists name, as LibriMix's metadata does; the splits must share no speaker.

    Attributes:
        path: the folder that the paths in the lists start from, such as `LibriSpeech`.
        train, valid, test: CSV files of each split, [list.csv], relative to `path` or by full
            paths.
    """

    name: Literal["metadata"] = "metadata"


@dataclass(frozen=True)
class Entry:
    """A file that a list names, and where it does so."""

    place: str
    """The list and its line, for messages."""
    file: str
    """Its name, the way it is written there."""
    speaker: str
    sex: Literal["F", "M"] | None


def open_metadata(config: MetadataConfig, sample_rate: int) -> Corpus:
    """Open the files that a config's lists name; a list that changed is read again."""
    root = corpus_root(config.path, "the folder that the paths in the lists start from")
    texts: dict[Split, list[tuple[Path, str]]] = {split: [] for split in SPLITS}
    for split, name in config.parts():
        texts[split].append(_read(root / Path(name).expanduser(), split))
    content = hashlib.sha256(repr(texts).encode()).hexdigest()
    rows = partial(list_metadata, config, root, texts)
    return open_listed(config, root, sample_rate, None, rows, f"\n{content}")


def list_metadata(
    config: MetadataConfig, root: Path, texts: Mapping[Split, list[tuple[Path, str]]]
) -> list[Utterance]:
    """The rows of the lists, ``(path, text)`` of each split; a file counts once in its split."""
    speech: list[SpeechFile] = []
    for split in SPLITS:
        found: dict[str, SpeechFile] = {}
        for path, text in texts[split]:
            for entry in read_list(path, text):
                inside = _inside(root, entry)
                first = found.get(inside)
                if first is None:
                    if not (root / inside).is_file():
                        raise InputError(
                            f"{entry.place}: {root / inside}: the audio file is missing"
                        )
                    found[inside] = SpeechFile(inside, entry.speaker, split, sex=entry.sex)
                elif first.speaker != entry.speaker:
                    raise InputError(
                        f"{entry.place}: {inside} is of speaker {entry.speaker!r},"
                        f" an earlier line says {first.speaker!r}"
                    )
        if not found:
            names = ", ".join(str(path) for path, _ in texts[split])
            raise InputError(f"corpus.{split}: no file is listed in {names}")
        speech += found.values()
    return list_files(root, speech, config.min_seconds)


def read_list(path: Path, text: str) -> Iterator[Entry]:
    """The entries of a list of utterances or of mixtures, told apart by their columns.

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
                yield Entry(place, row["origin_path"], row["speaker_ID"], _sex(row.get("sex")))
            else:
                for column in sources:
                    yield Entry(place, row[column], _speaker_in_name(row[column], place), None)
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


def _inside(root: Path, entry: Entry) -> str:
    """The entry's path relative to the root, with forward slashes."""
    path = Path(os.path.normpath(root / entry.file))
    if not path.is_relative_to(root):
        # The root has its links resolved, a full path in a list may go through one of them.
        path = path.parent.resolve() / path.name
    if not path.is_relative_to(root):
        raise InputError(f"{entry.place}: {entry.file} lies outside corpus.path, {root}")
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


def _sex(value: str | None) -> Literal["F", "M"] | None:
    return "F" if value == "F" else "M" if value == "M" else None
