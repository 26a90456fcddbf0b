# SPDX-License-Identifier: Apache-2.0
"""VCTK (Yamagishi, Veaux, MacDonald) as a corpus: one microphone of release 0.92, or the only one
of older releases."""

from __future__ import annotations

import re
from pathlib import Path
from typing import ClassVar, Literal

from msdet.corpora.folder import SpeakerFoldersConfig
from msdet.errors import InputError

FOLDERS = ("wav48_silence_trimmed", "wav48")
"""Folders of the recordings: in release 0.92, and before."""


class VCTKConfig(SpeakerFoldersConfig):
    """VCTK, which has no splits of its own: its speakers are divided as a folder's are.

    Attributes:
        path: VCTK's folder, or `wav48_silence_trimmed/` (release 0.92) or `wav48/` (older) in it.
        mic: 1 or 2, the second in release 0.92 only, where it lacks a speaker or two.
    """

    wanted: ClassVar[str] = "VCTK's folder"

    name: Literal["vctk"] = "vctk"
    mic: Literal[1, 2] = 1

    def root(self) -> Path:
        """Return ``wav48_silence_trimmed/``, or ``wav48/`` where there is only that."""
        path = super().root()
        for folder in (path, *(path / name for name in FOLDERS)):
            if folder.name in FOLDERS and folder.is_dir():
                return folder
        raise InputError(f"corpus.path: {path} holds no folder {' or '.join(FOLDERS)}")

    def audio(self, root: Path) -> list[Path]:
        """Return the recordings of the chosen microphone."""
        audio = super().audio(root)
        files = [path for path in audio if microphone(path) == self.mic]
        if audio and not files:
            raise InputError(
                f"corpus.mic: {root} holds no recordings of microphone {self.mic};"
                f" {audio[0].name} is of microphone {microphone(audio[0])}"
            )
        return files


def microphone(path: Path) -> int:
    """1 or 2, from ``p225_001_mic2.flac``; older releases have but the first and do not say it."""
    match = re.search(r"_mic(\d+)$", path.stem)
    return int(match[1]) if match else 1
