# SPDX-License-Identifier: Apache-2.0
"""The utterance, the one row that every corpus is made of, and the JSONL manifest that lists them:
writing, reading and checking it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from msdet.errors import InputError, first_mistake
from msdet.files import write_atomically

Split = Literal["train", "valid", "test"]
SPLITS: tuple[Split, ...] = ("train", "valid", "test")
MANIFEST = "manifest.jsonl"


class Utterance(BaseModel):
    """One dry recording of one speaker."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = Field(min_length=1)
    speaker: str = Field(min_length=1)
    split: Split
    path: str
    """Relative to the corpus root, with forward slashes."""
    duration: float = Field(gt=0)
    """Seconds."""
    sample_rate: int = Field(gt=0)
    bandwidth_hz: int = Field(gt=0)
    """Highest frequency that carries speech: 8000 for full-band, 4000 for telephone sources."""
    sex: Literal["F", "M"] | None = None
    language: str | None = None
    num_bytes: int = Field(gt=0)
    """Size of the file: tells cheaply that it changed since the manifest was written."""

    @field_validator("path")
    @classmethod
    def _stays_inside(cls, path: str) -> str:
        parts = PurePosixPath(path)
        if parts.is_absolute() or ".." in parts.parts:
            raise ValueError("must be relative and stay inside the corpus")
        return path


class Measured(BaseModel):
    """Measurements of the file as it is stored."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    active_level_db: float
    """RMS over the frames that carry speech, dB relative to full scale."""
    silence_share: float
    clipped_share: float
    peak: float
    dc: float
    bandwidth_hz: int
    """The value as measured; the row's own ``bandwidth_hz`` is this put into a class."""
    pitch_hz: float | None


class BundledUtterance(Utterance):
    """A row of the bundled voices: also says where the recording came from and under what terms."""

    source_package: str
    source_version: str
    licence: str
    credit: str
    sex_source: Literal["package", "pitch"]
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    checked: Measured


def write_manifest(path: Path, utterances: Iterable[Utterance]) -> None:
    """Write one row per utterance; the file appears whole or not at all."""
    rows = (utterance.model_dump(mode="json") for utterance in utterances)
    write_atomically(path, (json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def read_manifest(path: Path) -> tuple[Utterance, ...]:
    """All rows, as ``BundledUtterance`` where a row says where it came from.

    Raises ``InputError`` naming file and line for anything that is not a manifest, for ids that
    come twice and for speakers that are in more than one split.
    """
    try:
        # Not splitlines: it also parts at control characters, which names may hold.
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as a manifest ({error})") from None
    utterances = []
    for number, line in enumerate(lines, start=1):
        if line.strip():
            kind = BundledUtterance if '"source_package"' in line else Utterance
            try:
                utterances.append(kind.model_validate_json(line))
            except ValidationError as error:
                raise InputError(f"{path}, line {number}: {first_mistake(error)}") from None
    if not utterances:
        raise InputError(f"{path}: the manifest is empty; delete it to have it built again")
    check_rows(str(path), utterances)
    return tuple(utterances)


def check_rows(where: str, utterances: Iterable[Utterance]) -> None:
    """Raise ``InputError`` naming an id that comes twice, or a speaker who is in two splits."""
    ids: set[str] = set()
    split_of: dict[str, str] = {}
    for utterance in utterances:
        if utterance.id in ids:
            raise InputError(f"{where}: the id {utterance.id!r} comes twice")
        ids.add(utterance.id)
        split = split_of.setdefault(utterance.speaker, utterance.split)
        if split != utterance.split:
            raise InputError(
                f"{where}: speaker {utterance.speaker!r} is in {split} and in {utterance.split};"
                " splits must share no speaker"
            )


def check_files(root: Path, utterances: Iterable[Utterance]) -> None:
    """Raise ``InputError`` naming the first file that is missing or not what was listed.

    Sizes are compared always, contents where the row has a checksum.
    """
    for utterance in utterances:
        path = root / utterance.path
        try:
            num_bytes = path.stat().st_size
        except OSError:
            raise InputError(f"{path}: the audio file is missing") from None
        if num_bytes != utterance.num_bytes:
            raise InputError(
                f"{path}: has {num_bytes} bytes, the manifest says {utterance.num_bytes};"
                " the file was changed or cut short"
            )
        if isinstance(utterance, BundledUtterance) and (
            hashlib.sha256(path.read_bytes()).hexdigest() != utterance.sha256
        ):
            raise InputError(f"{path}: its checksum is not the manifest's; the file was changed")


def fingerprint(utterances: Iterable[Utterance]) -> str:
    """Short hash of what the audio is and how it is divided; the order of rows does not matter."""
    digest = hashlib.sha256()
    for u in sorted(utterances, key=lambda u: u.id):
        content = u.sha256 if isinstance(u, BundledUtterance) else u.num_bytes
        digest.update(f"{u.id}|{u.speaker}|{u.split}|{u.duration:.6f}|{content}\n".encode())
    return digest.hexdigest()[:12]
